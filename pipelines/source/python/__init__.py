"""Python on this machine: the standard library, installed distributions, and pydoc pages."""
