"""Commands about one checkpoint: score it, export it, ask it."""
