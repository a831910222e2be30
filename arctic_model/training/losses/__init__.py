"""What a step minimizes: cross-entropy, preferences of pairs, and the objective that sums them over micro-batches."""
