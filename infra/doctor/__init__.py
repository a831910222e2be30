"""The checks of `arctic doctor`: properties of this machine, and their consequences."""
