"""From scores to decisions: which documents to keep, and what to black out in them. No text is read."""

from pipelines.filter.stage import stage
from pipelines.filter.takedown import pin

__all__ = ["pin", "stage"]
