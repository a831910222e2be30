"""One of two workers that time exchanges: `comm_stream_worker.py RANK RENDEZVOUS OUT` writes OUT/RANK.json."""

import json
import sys
import time
from pathlib import Path

import torch
import torch.distributed as dist

from arctic_model.kernels.comm_stream import TransferTiming, collective_timeout, overlap_statistics
from arctic_model.model import ArcticModel
from arctic_model.moe.dispatch import ExpertGroup
from arctic_model.presets import preset

KNOWN = (
    [TransferTiming(1.5, 1.3, True), TransferTiming(9.0, 9.0, False), TransferTiming(1.25, 0.1, True)],
    [TransferTiming(0.5, 0.2, True), TransferTiming(9.0, 9.0, False), TransferTiming(0.25, 0.0, True)],
)
CPU = torch.device("cpu")


def measured(group: ExpertGroup) -> list[TransferTiming]:
    """The exchanges of one pass forward and backward."""
    model = ArcticModel(preset("tiny"), group, seed=0)
    ids = torch.arange(24).view(2, 12)
    model(ids, torch.arange(12).repeat(2, 1), torch.zeros_like(ids)).sum().backward()
    return [handle.timing for handle in group.comm_stream.take_finished()]


def late(rank: int) -> list[str]:
    """The errors of worker 0 when worker 1 does not come, by an existing group and by one that is made inside."""
    heard = []
    with collective_timeout(0.2):
        for group in (OTHERS, dist.new_group([0, 1])):
            try:
                if rank == 0:
                    dist.all_reduce(torch.zeros(1), group=group)
            except RuntimeError as error:
                heard.append(str(error))
    if rank == 1:
        # Not gone, which worker 0 would notice, but late.
        time.sleep(1)
    return heard


rank, out = int(sys.argv[1]), Path(sys.argv[3])
torch.set_num_threads(1)
dist.init_process_group("gloo", init_method=f"file://{sys.argv[2]}", rank=rank, world_size=2)
OTHERS = dist.new_group([0, 1])
result = {
    "known": overlap_statistics(KNOWN[rank], dist.group.WORLD, CPU),
    "counts_alone": overlap_statistics(KNOWN[rank][1:2], dist.group.WORLD, CPU),
    "measured": measured(ExpertGroup(2, rank, dist.group.WORLD)),
    "late": late(rank),
}
(out / f"{rank}.json").write_text(json.dumps(result), encoding="utf-8")
