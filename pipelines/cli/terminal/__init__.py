"""What the commands share: their options, the live table of a run, and tables of results."""
