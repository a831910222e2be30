"""Confidence intervals, paired comparisons, contamination, and the scores computed from several measures."""
