"""The sections of the page: each is a small function from summary to HTML."""
