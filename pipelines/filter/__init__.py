"""From scores to decisions: the documents to keep, and the spans to redact in them. No text is read."""

from pipelines.filter.from_recipe import fingerprint
from pipelines.filter.stage import FilterInputs, stage

__all__ = ["FilterInputs", "fingerprint", "stage"]
