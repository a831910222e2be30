"""The exact order of one curriculum phase's sequences."""

from pipelines.mix.stage import stage

__all__ = ["stage"]
