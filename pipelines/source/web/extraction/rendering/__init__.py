"""Text of a parsed page, plain or in Markdown, by one pass."""
