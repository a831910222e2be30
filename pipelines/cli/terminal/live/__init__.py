"""A run in progress: one row per stage in a terminal, one line per event elsewhere."""
