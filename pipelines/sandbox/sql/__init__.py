"""Queries: a database of their own, opened and run inside the sandbox."""
