"""Processes of the sandbox: the zygote, which becomes the monitor of all sessions, the forker, and its programs."""
