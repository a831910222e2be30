"""Shared parts of the commands: their options, the live table of a run, and tables of results."""
