"""Commands about a store: its results and its runs."""
