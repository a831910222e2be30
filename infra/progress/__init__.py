"""The progress of a run: the stages that can begin, and the outcome of the others."""
