"""Quality classifiers: a linear model of our own, fastText models, and training."""
