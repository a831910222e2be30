"""Conversations into packed sequences, of which the assistant's turns alone are trained."""

from pipelines.tokenize.chat.stage import stage

__all__ = ["stage"]
