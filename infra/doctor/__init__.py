"""The checks of `arctic doctor`: facts about this machine, and what they mean."""
