"""Passages and lines that other documents have too, cut from all but the first."""
