"""Trace the contents of a store: one stage, one document, one cluster of duplicates, one token."""
