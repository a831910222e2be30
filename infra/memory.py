"""Memory that this machine, or this container, has to give."""

from pathlib import Path


def available_memory_bytes() -> int:
    """Memory that new processes may take: the kernel's estimate, or this container's limit if that is less."""
    lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    [available] = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text(encoding="utf-8").strip() if limit.exists() else "max"
    return available if text == "max" else min(available, int(text))
