"""A model under training on all workers: forward, backward, clipped updates, and the values that a checkpoint holds."""

from arctic_model.training.engine.engine import Engine

__all__ = ["Engine"]
