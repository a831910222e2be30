"""Answers of models: batching, decoding, log-likelihoods, and the models that can be asked."""
