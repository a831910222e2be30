"""Tasks of lm-evaluation-harness: those of the suites over pinned files, and any other by name or page."""
