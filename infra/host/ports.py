"""Ports of this machine."""

import socket


def port_problem(host: str, port: int) -> str:
    """The operating system's reason why nothing can listen at `port` of the address `host`, or ""."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error.strerror or str(error)
    return ""
