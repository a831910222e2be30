"""Passes over the code points or words of a text, compiled by numba; imported only if there is a text to measure."""
