"""Restrictions that the kernel enforces on a process: files (landlock), system calls (seccomp), resources; and a
private root folder."""
