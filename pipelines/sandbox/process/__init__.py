"""Processes of the sandbox: the caller's session, zygote, monitor and child, and the protocol between them."""
