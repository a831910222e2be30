"""Queries: a separate database for each, opened and run inside the sandbox."""
