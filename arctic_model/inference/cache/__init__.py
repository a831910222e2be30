"""The KV cache of a batch of texts: its slots, and prefixes that several texts share."""
