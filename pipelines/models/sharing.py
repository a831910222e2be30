"""A model whose experts lie on several processes: how these find each other."""

import torch
import torch.distributed as dist

from arctic_model.moe.dispatch import ExpertGroup
from arctic_model.training.process import join_group
from infra.groups.group import Member

READING_TIMEOUT_S = 3600.0
"""One process may wait for another that reads its part of the weights from a slower disk."""


def expert_group(member: Member, device: str) -> ExpertGroup:
    """The group of this process, which lasts as long as the process. All members call in step."""
    if member.size == 1:
        return ExpertGroup()
    uses_gpu = torch.device(device).type == "cuda"
    # Checkpoints are checked on the CPU, and rows travel between GPUs.
    backend, meeting = "cpu:gloo,cuda:nccl" if uses_gpu else "gloo", str(member.rendezvous)
    join_group(backend, meeting, member.rank, member.size, READING_TIMEOUT_S, one_machine=member.one_machine)
    return ExpertGroup(member.size, member.rank, dist.group.WORLD, same_tokens=True)
