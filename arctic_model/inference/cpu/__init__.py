"""Decoding on a CPU: compiled products and passes for few rows."""
