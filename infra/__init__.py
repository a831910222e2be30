"""The machines: run any graph of stages durably. Knows nothing of language models."""
