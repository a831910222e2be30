"""Attention of a layer: grouped queries, the documents that they see, and keys merged, shared or cached."""
