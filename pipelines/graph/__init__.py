"""Recipes as graphs of stages: the chain, the search for a mixture, and the evaluation of one checkpoint."""

from pipelines.graph.chain import Corpus, Graph, corpus_graph, run_graph, schedule

__all__ = ["Corpus", "Graph", "corpus_graph", "run_graph", "schedule"]
