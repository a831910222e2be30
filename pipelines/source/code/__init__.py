"""Repositories: files, languages, licences, and the order of imports."""
