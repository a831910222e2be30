"""What the kernel denies a process: files (landlock), system calls (seccomp), resources; and its own root folder."""
