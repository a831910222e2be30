"""Decoding: continuous batching over cached keys and values, sampling, and the pass of one token on a CPU."""
