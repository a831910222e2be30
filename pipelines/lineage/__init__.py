"""Trace what a store holds: one stage, one document, one cluster of duplicates, one token."""
