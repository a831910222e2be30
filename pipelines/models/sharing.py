"""A model whose experts lie on several processes: how these find each other."""

import os
from datetime import timedelta

import torch
import torch.distributed as dist

from arctic_model.moe.dispatch import ExpertGroup
from infra.groups.group import Member

READING_TIMEOUT_S = 3600.0
"""One process may wait for another that reads its part of the weights from a slower disk."""


def expert_group(member: Member, device: str) -> ExpertGroup:
    """The group of this process, which lasts as long as the process. All members call in step."""
    if member.size == 1:
        return ExpertGroup()
    if member.one_machine:
        os.environ["GLOO_SOCKET_IFNAME"] = os.environ["NCCL_SOCKET_IFNAME"] = "lo"
    uses_gpu = torch.device(device).type == "cuda"
    dist.init_process_group(
        # Checkpoints are checked on the CPU, and rows travel between GPUs.
        "cpu:gloo,cuda:nccl" if uses_gpu else "gloo",
        # A file and not a port: torch's own meeting point listens on every interface and asks nobody for a token.
        store=dist.FileStore(str(member.rendezvous), member.size),
        rank=member.rank,
        world_size=member.size,
        timeout=timedelta(seconds=READING_TIMEOUT_S),
    )
    return ExpertGroup(member.size, member.rank, dist.group.WORLD, same_tokens=True)
