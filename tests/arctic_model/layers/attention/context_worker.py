"""One of the workers that share sequences of 2,048 tokens: `context_worker.py SIZE RENDEZVOUS RANK`. It asserts that
loss, gradients and the sums of the step are those of a process that has the sequences alone."""

import sys

import torch
import torch.distributed as dist

from arctic_model.layers.attention.context_parallel import ContextGroup
from arctic_model.model import ArcticModel
from arctic_model.moe.dispatch import ExpertGroup
from arctic_model.presets import preset
from arctic_model.training.losses.objective import Batch, Scale, training_loss
from arctic_model.training.optimization.settings import Optimization

LENGTH = 2048
CUTS = [[1, 517, 1025, 1999], [1531], []]


def main() -> None:
    size, rendezvous, rank = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=size)
    overrides = {"init_std": 0.2, "max_positions": LENGTH, "qk_norm": True, "learned_sinks": True}
    settings = Optimization(z_loss_coefficient=0.01, balance_loss_coefficient=0.1)
    whole = batch()
    scale = Scale(float(whole.num_predicted), float((whole.segments >= 0).sum()), torch.ones(2, 4))
    alone = ArcticModel(preset("tiny", overrides), seed=0)
    expected, sums = training_loss(alone, whole, scale, settings)
    expected.backward()

    context = ContextGroup(size, rank, dist.group.WORLD)
    experts = ExpertGroup(2, rank % 2, dist.group.WORLD) if size == 2 else ExpertGroup()
    model = ArcticModel(preset("tiny", overrides), experts, seed=0)
    chunks = context.chunks(LENGTH)
    part = Batch(*(torch.cat([each[:, chunk] for chunk in chunks], 1) for each in whole[:4]), whole.corpora)
    loss, own_sums = training_loss(model, part, scale, settings, context)
    loss.backward()
    for tensor in (loss.detach(), own_sums):
        dist.all_reduce(tensor)
    torch.testing.assert_close(loss, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(own_sums, sums, atol=1e-3, rtol=1e-5)
    expected_gradients = {name: each.grad for name, each in alone.named_parameters()}
    for name, parameter in model.named_parameters():
        required = expected_gradients[name]
        if ".experts." in name and size == 2:
            required = required.chunk(2)[rank]
        else:
            dist.all_reduce(parameter.grad)
        torch.testing.assert_close(parameter.grad, required, atol=1e-5, rtol=0, msg=lambda why, name=name: name + why)
    dist.barrier()
    dist.destroy_process_group()


def batch() -> Batch:
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(0, 60, (len(CUTS), LENGTH + 1), generator=generator)
    tokens = torch.arange(LENGTH)
    rows = [torch.bucketize(tokens, torch.tensor(cuts, dtype=torch.long), right=True) for cuts in CUTS]
    segments = torch.stack(rows).int()
    begins = [torch.tensor([0, *cuts])[row] for cuts, row in zip(CUTS, rows, strict=True)]
    segments[1, 2001:] = -1
    targets = ids[:, 1:].clone()
    targets[1, 2000:] = -1
    return Batch(ids[:, :-1].contiguous(), tokens - torch.stack(begins), segments, targets, torch.tensor([[True] * 3]))


if __name__ == "__main__":
    main()
