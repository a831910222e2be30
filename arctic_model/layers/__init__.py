"""Attention, embedding, feed-forward, normalization, and recomputation."""
