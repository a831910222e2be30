"""Matrix products over groups of rows, and the layouts of rows that they read."""
