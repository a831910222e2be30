"""FLOPs, memory, step time and cost, without torch."""
