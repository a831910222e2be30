"""The objectives of a step: cross-entropy, preferences of pairs, and the objective that sums them over
micro-batches."""
