"""The order of sequences as arithmetic: permutations, due order, and token rows by position."""
