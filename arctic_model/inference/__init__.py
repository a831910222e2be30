"""Decoding: text generation, and the pass of one token on a CPU."""
