"""Commands about corpora that are built."""
