"""The workers of a phase: starting, watching and stopping them, and the work of one."""
