"""Every operator on the GPU against torch's own operations in float32 on the CPU, and a small model against the same.

Fails if an error is larger than a few roundings of its dtype.
"""

from typing import Any

import torch
from setting import batch, finish, options
from torch import Tensor
from torch.utils._pytree import tree_iter, tree_map

from arctic_model.kernels import operators
from arctic_model.kernels.grouped_products import up_projection
from arctic_model.model import ArcticModel
from arctic_model.presets import preset
from arctic_model.training.losses.objective import Scale, training_loss
from arctic_model.training.optimization.settings import Optimization

BOUNDS = {torch.float32: 1e-5, torch.bfloat16: 2e-2}
"""Largest error as a share of the largest value."""
MODEL_BOUNDS = {torch.float32: 1e-4, torch.bfloat16: 0.1}
"""Error of a gradient as a share of its norm. In bfloat16 a token may choose another expert."""
FP8_CAPABILITIES = {(9, 0)}
LOSS_BOUND = 0.01
ENDS = torch.tensor([100, 100, 229, 300], dtype=torch.int32)
"""Of groups of 300 rows."""


def rows_of_tokens(dtype: torch.dtype) -> dict[str, tuple[Any, ...]]:
    order = torch.randperm(2 * 300)
    tokens, inverse = operators.rows_of_assignments(order, 2, 599)
    rows, weights, index = torch.randn(599, 640).to(dtype), torch.rand(300, 2), inverse.view(-1, 2)
    bases = [torch.randn(300, 640).to(dtype) for _ in range(2)]
    return {
        "rows_of_assignments": (order, 2, 599),
        "weighted_sum": (rows, index, weights, bases, True),
        "weighted_sum_backward": (torch.randn(300, 640).to(dtype), rows, weights, tokens, index, True),
    }


def cases(dtype: torch.dtype) -> dict[str, tuple[Any, ...]]:
    """Arguments of each operator that returns its result."""
    gate, up = torch.randn(300, 2 * 1100).to(dtype).chunk(2, dim=1)
    heads = [torch.randn(2, 150, number, 64).to(dtype) for number in (20, 4, 4)]
    angles = torch.rand(2, 150, 1, 32)
    x, weight = torch.randn(300, 640).to(dtype), torch.rand(640).to(dtype)
    _, scale = operators.rms_norm(x, weight, 1e-5)
    return {
        "rms_norm": (x, weight, 1e-5),
        "rms_norm_backward": (torch.randn(300, 640).to(dtype), x, weight, scale),
        "rms_norms": (x, [weight, weight], 1e-5),
        "add_rms_norm": (x, torch.randn(300, 640).to(dtype), weight, 1e-5),
        "rms_norms_backward": (x, [x + 1, x - 1], x, [weight, weight + 1], scale),
        "swiglu": (gate, up),
        "quantized_rows": (x,),
        "grouped_product": (x, torch.randn(4, 640, 1104).to(dtype), ENDS),
        "rotate": (heads, angles.cos(), angles.sin(), -1, 24),
        **rows_of_tokens(dtype),
    }


def error(result: Any, expected: Any) -> float:
    """The largest, as a share of the largest value, of all results of an operator."""
    shares = []
    for ours, theirs in zip(tree_iter(result), tree_iter(expected), strict=True):
        wide = theirs.double()
        shares.append((ours.double().cpu() - wide).abs().max() / wide.abs().max())
    return float(max(shares))


def operator_errors(dtype: torch.dtype, device: torch.device) -> dict[str, float]:
    result = {}
    for name, inputs in cases(dtype).items():
        wide = tree_map(lambda each: each.float() if is_float(each) else each, inputs)
        moved = tree_map(lambda each: each.to(device) if isinstance(each, Tensor) else each, inputs)
        operator = getattr(operators, name)
        result[name] = error(operator(*moved), operator(*wide))
    for name, written in (("swiglu_backward", swiglu_backward), ("softmax_residual", softmax_residual)):
        result[name] = written(dtype, device)
    return result


def fp8_errors(device: torch.device) -> dict[str, float]:
    """Of products of all rows and of groups, against the numbers that a CPU rounds to; nothing on GPUs without them."""
    if device.type == "cuda" and torch.cuda.get_device_capability() not in FP8_CAPABILITIES:
        return {}
    rows, matrices = torch.randn(300, 640).bfloat16(), torch.randn(3, 640, 1104).bfloat16()
    ends = torch.tensor([100, 100, 300], dtype=torch.int32)
    result = {}
    for name, matrix, groups in (("all rows", matrices[0], None), ("groups", matrices, ends)):
        inputs = [each if each is None else each.to(device) for each in (rows, matrix.mT.contiguous().mT, groups)]
        result[name] = error(up_projection(*inputs, fp8=True), up_projection(rows, matrix, groups, fp8=True))
    return result


def is_float(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


def swiglu_backward(dtype: torch.dtype, device: torch.device) -> float:
    inputs = torch.randn(3, 300, 1100).to(dtype)
    outs = []
    for values in (inputs.to(device), inputs.float()):
        out = torch.empty_like(values)
        operators.swiglu_backward(*values, *out)
        outs.append(out)
    return error(*outs)


def softmax_residual(dtype: torch.dtype, device: torch.device) -> float:
    logits, columns = (5 * torch.randn(64, 32_000)).to(dtype), torch.randint(0, 32_000, (64, 1))
    ours, wide = logits.to(device), logits.float()
    # On a GPU the product's loss works in place.
    residual = ours if ours.is_cuda else torch.empty_like(ours)
    expected = torch.empty_like(wide)
    nll = operators.softmax_residual(ours, columns.to(device), residual)
    return error((nll, residual), (operators.softmax_residual(wide, columns, expected), expected))


def model_errors(dtype: torch.dtype, device: torch.device) -> dict[str, float]:
    """Of loss, and of the gradients together."""
    config = preset("tiny", {"hidden_size": 128, "num_heads": 2, "num_kv_heads": 1, "expert_size": 96})
    losses, gradients = [], []
    for where, precision in ((device, dtype), (torch.device("cpu"), torch.float32)):
        model = ArcticModel(config, seed=0).to(where, precision)
        provided = batch(config, 4, where, seed=0)
        load = torch.full((config.num_layers, config.num_experts), 0.5, device=where)
        loss, _ = training_loss(
            model, provided, Scale(provided.ids.numel(), provided.ids.numel(), load), Optimization()
        )
        loss.backward()
        losses.append(float(loss))
        gradients.append(torch.cat([each.grad.double().cpu().flatten() for each in model.parameters()]))  # type: ignore[union-attr]
    ours, theirs = gradients
    return {"loss": abs(losses[0] - losses[1]), "gradient": float((ours - theirs).norm() / theirs.norm())}


def main() -> None:
    provided = options()
    torch.manual_seed(0)
    result: dict[str, Any] = {}
    for dtype in BOUNDS:
        name = str(dtype).removeprefix("torch.")
        result[name] = {
            "operators": operator_errors(dtype, provided.device),
            "model": model_errors(dtype, provided.device),
        }
        worst = max(result[name]["operators"], key=result[name]["operators"].__getitem__)
        if result[name]["operators"][worst] > BOUNDS[dtype]:
            raise SystemExit(f"{worst} in {name} is wrong: {result[name]['operators']}")
        if result[name]["model"]["gradient"] > MODEL_BOUNDS[dtype] or result[name]["model"]["loss"] > LOSS_BOUND:
            raise SystemExit(f"the model in {name} is wrong: {result[name]['model']}")
    result["fp8"] = fp8_errors(provided.device)
    if max(result["fp8"].values(), default=0.0) > BOUNDS[torch.bfloat16]:
        raise SystemExit(f"products in FP8 are wrong: {result['fp8']}")
    finish(**result)


if __name__ == "__main__":
    main()
