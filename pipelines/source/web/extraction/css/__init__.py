"""Inline styles, as far as they decide whether a text is visible."""
