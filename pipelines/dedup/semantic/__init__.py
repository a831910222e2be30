"""Duplicates in meaning: embeddings, clusters of them, pairs within a cluster, decisions."""
