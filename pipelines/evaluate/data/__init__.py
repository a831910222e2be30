"""Files that tasks read: pinned digests, download, held-out text."""
