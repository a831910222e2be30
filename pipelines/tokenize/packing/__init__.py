"""Documents in sequences of one length, and the same documents in sequences of another."""

from pipelines.tokenize.packing.best_fit import Placement, fill_rows, pack

__all__ = ["Placement", "fill_rows", "pack"]
