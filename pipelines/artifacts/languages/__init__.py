"""Metadata of languages for the data stages: their words and their scripts."""
