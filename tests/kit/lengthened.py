"""The quickstart with phases of 72, 72 and 208 steps of 2,048 tokens, whatever the recipe's own are."""

LENGTHS = ("phases.1.tokens=147456", "phases.2.tokens=147456", "phases.3.tokens=425984")
"""Overrides of its recipe."""
