"""One of two workers that compute the same pass with overlapping and with serial exchanges, and alone.

`dispatch_worker.py RANK RENDEZVOUS OUT LAYOUT`: writes OUT/RANK.json, the comparisons by name. The rows of experts are
laid out as "groups" one behind the other or, as in bfloat16, as "padded" groups.
"""

import json
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
import torch.distributed as dist

from arctic_model.checkpoint.tensors.names import is_expert
from arctic_model.kernels import row_groups
from arctic_model.layer import ForwardPolicy
from arctic_model.model import ArcticModel
from arctic_model.moe.dispatch import Exchange, ExpertGroup
from arctic_model.moe.sparse_moe import SparseMoE
from arctic_model.presets import preset

EVENTS: list[str] = []


def launch_and_wait(*arguments: Any, **options: Any) -> Any:
    """The serial order: nothing happens between the start of an exchange and its end."""
    work = ALL_TO_ALL(*arguments, **options)
    work.wait()
    return work


def noted_launch(exchange: Exchange, rows: torch.Tensor, *, reverse: bool) -> torch.Tensor:
    EVENTS.append("launch")
    return LAUNCH(exchange, rows, reverse=reverse)


def noted_finish(exchange: Exchange) -> torch.Tensor:
    EVENTS.append("finish")
    return FINISH(exchange)


LAUNCH, FINISH, ALL_TO_ALL = Exchange.launch, Exchange.finish, dist.all_to_all_single


def gradients(
    group: ExpertGroup, ids: torch.Tensor, policy: ForwardPolicy = ForwardPolicy()
) -> dict[str, torch.Tensor]:
    model = ArcticModel(preset("tiny", {"init_std": 0.2}), group, seed=0)
    for layer in model.model.layers:
        layer.self_attn.register_forward_hook(lambda *_: EVENTS.append("attention"))
        layer.residual_mlp.register_forward_hook(lambda *_: EVENTS.append("dense"))
        layer.self_attn.register_full_backward_hook(lambda *_: EVENTS.append("attention backward"))
        layer.residual_mlp.register_full_backward_hook(lambda *_: EVENTS.append("dense backward"))
    positions = torch.arange(ids.shape[1]).repeat(len(ids), 1)
    logits = model.lm_head(model.hidden_states(ids, positions, torch.zeros_like(ids), policy=policy).hidden)
    EVENTS.append("turn")
    (logits * torch.linspace(0, 1, logits.numel()).view_as(logits)).sum().backward()
    return {"logits": logits.detach()} | {name: p.grad for name, p in model.named_parameters()}


def block_error(group: ExpertGroup, rank: int) -> float:
    """Largest difference between the expert block split over both workers and the whole one, on uneven tokens."""
    config = preset("tiny", {"init_std": 0.2})
    x = torch.randn(3 + 4 * rank, config.hidden_size, generator=torch.Generator().manual_seed(rank))
    split, whole = SparseMoE(config, group, seed=0), SparseMoE(config, seed=0)
    return float((split(x) - whole(x)).abs().max())


def equal(expected: dict[str, torch.Tensor], result: dict[str, torch.Tensor]) -> list[str]:
    """Names of tensors that are equal to the bit."""
    return [name for name in expected if torch.equal(result[name], expected[name])]


def main() -> None:
    rank, out = int(sys.argv[1]), Path(sys.argv[3])
    torch.set_num_threads(1)
    row_groups.PADDED = {("cpu", torch.float32)} if sys.argv[4] == "padded" else set()
    dist.init_process_group("gloo", init_method=f"file://{sys.argv[2]}", rank=rank, world_size=2)
    group = ExpertGroup(2, rank, dist.group.WORLD)
    ids = torch.randint(0, 384, (4, 12), generator=torch.Generator().manual_seed(1))
    mine = ids[2 * rank : 2 * rank + 2 - rank]  # unequal shares: exchanges of uneven size
    with patch.object(Exchange, "launch", noted_launch), patch.object(Exchange, "finish", noted_finish):
        EVENTS.clear()
        overlapping = gradients(group, mine)
        order = list(EVENTS)
    with patch.object(dist, "all_to_all_single", launch_and_wait):
        serial = gradients(group, mine)
    again = gradients(group, mine, ForwardPolicy(activation_checkpointing="layer"))
    with patch.object(Exchange, "launch", noted_launch), patch.object(Exchange, "finish", noted_finish):
        EVENTS.clear()
        selective = gradients(group, mine, ForwardPolicy(activation_checkpointing="selective"))
        selective_order = list(EVENTS)
    with patch.object(dist, "all_to_all_single", launch_and_wait):
        serial_selective = gradients(group, mine, ForwardPolicy(activation_checkpointing="selective"))
    dropping = gradients(group, mine, ForwardPolicy(capacity_factor=0.75))
    dropping_again = gradients(group, mine, ForwardPolicy(0.75, "layer"))
    dropping_selective = gradients(group, mine, ForwardPolicy(0.75, "selective"))
    shares = [gradients(ExpertGroup(), ids[:2]), gradients(ExpertGroup(), ids[2:3])]
    expected = {name: shares[0][name] + shares[1][name] for name in overlapping if name != "logits"}
    held = slice(2 * rank, 2 * rank + 2)
    result = {
        "order": order,
        "selective_order": selective_order,
        "equal": equal(overlapping, serial),
        "equal_computed_again": equal(overlapping, again),
        "equal_selective": equal(overlapping, selective),
        "equal_serial_selective": equal(overlapping, serial_selective),
        "equal_with_drops": equal(dropping, dropping_again),
        "equal_selective_with_drops": equal(dropping, dropping_selective),
        "drops_change": not torch.equal(dropping["logits"], overlapping["logits"]),
        "names": list(overlapping),
        "block": block_error(group, rank),
        "logits": bool(torch.allclose(overlapping["logits"], shares[rank]["logits"], atol=1e-5)),
        "experts": [
            name
            for name in expected
            if is_expert(name) and torch.allclose(overlapping[name], expected[name][held], atol=1e-3, rtol=1e-4)
        ],
        "dense": [
            name
            for name in expected
            if not is_expert(name) and torch.allclose(overlapping[name], shares[rank][name], atol=1e-3, rtol=1e-4)
        ],
    }
    (out / f"{rank}.json").write_text(json.dumps(result), encoding="utf-8")
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
