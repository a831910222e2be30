"""Markdown of a parsed page."""
