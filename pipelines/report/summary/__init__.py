"""The content of a report, read from the artifacts of a run: plain numbers and texts."""
