"""The process that trains or shares a model: its group, determinism, and how the C library treats freed memory."""

import ctypes
import hashlib
import os
import sys
from datetime import timedelta

import torch
import torch.distributed as dist

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Constants of glibc's malloc.h."""
MMAP_BYTES = 2**30
"""Larger blocks still come from the kernel, and go back to it."""


def join_group(
    backend: str, rendezvous: str, rank: int, size: int, timeout_s: float, *, one_machine: bool = False
) -> None:
    """Join the default process group of the processes that meet at the file `rendezvous`, which does not exist yet.

    A file and not a port: torch's own meeting point listens on every interface and asks nobody for a token. On
    `one_machine` the connections stay on loopback as well.
    """
    if one_machine:
        os.environ["GLOO_SOCKET_IFNAME"] = os.environ["NCCL_SOCKET_IFNAME"] = "lo"
    limit = timedelta(seconds=timeout_s)
    # Not by a URL: a "#" or "?" in the folder's name would end its path.
    store = dist.FileStore(rendezvous, size)
    # A store has 5 minutes of its own, and NCCL waits there for the first worker of each group.
    store.set_timeout(limit)
    dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=limit)


def prepare_process(seed: int, *, deterministic: bool = True) -> None:
    """Let this process reuse freed memory, and refuse kernels whose sums have no fixed order if it is to be
    `deterministic`."""
    reuse_freed_memory()
    torch.manual_seed(seed)
    torch.set_deterministic_debug_mode("error" if deterministic else "default")
    # Filling every new tensor first would detect reads of uninitialised memory, at a third of the speed.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def seed_step(seed: int, step: int, rank: int) -> None:
    """Let the random numbers of a worker's step follow from its number, so that a resumed run draws the same."""
    digest = hashlib.sha256(f"step/{seed}/{step}/{rank}".encode()).digest()
    torch.manual_seed(int.from_bytes(digest[:8], "little"))


def reuse_freed_memory() -> None:
    """Let glibc keep freed blocks instead of returning them to the kernel. Other C libraries are left alone.

    A step frees its memory, and the next step allocates the same sizes. Otherwise the kernel clears every page again:
    16,000 to 33,000 pages in a step of 40 to 80 million parameters, a sixth of its time.
    """
    if not sys.platform.startswith("linux"):
        return
    library = ctypes.CDLL(None)
    # C libraries other than glibc have no such function.
    if hasattr(library, "mallopt"):
        library.mallopt(M_MMAP_THRESHOLD, MMAP_BYTES)
        library.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
