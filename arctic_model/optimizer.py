"""AdamW over three groups of parameters: matrices, gains, experts."""

import inspect
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch

from arctic_model.model import ArcticModel
from arctic_model.tensor_names import is_expert

MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass(frozen=True)
class Optimization:
    """How a step changes the weights: AdamW (Loshchilov and Hutter 2017, arXiv 1711.05101), clipping to a global
    gradient norm, and the weights of the router's two losses."""

    weight_decay: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.95
    gradient_clip: float = 1.0
    balance_loss_coefficient: float = 0.001
    z_loss_coefficient: float = 0.0
    dtype: Literal["float32", "bfloat16"] = "float32"
    zero_stage: Literal[0, 1, 2] = 1
    seed: int = 0


def new_optimizer(model: ArcticModel, settings: Optimization, expert_group_name: str) -> torch.optim.AdamW:
    """AdamW whose states exist from the start, zero, so that saving and loading know no special first step.

    Matrices decay, gains of norms do not. Experts are a group of their own, which DeepSpeed reduces over the
    workers that hold the same experts (`moe`, `name`: its words).
    """
    named = list(model.named_parameters())
    experts = [parameter for name, parameter in named if is_expert(name)]
    matrices = [parameter for name, parameter in named if not is_expert(name) and parameter.dim() > 1]
    gains = [parameter for name, parameter in named if parameter.dim() == 1]
    groups: list[dict[str, Any]] = [
        {"name": "matrices", "params": matrices, "weight_decay": settings.weight_decay},
        {"name": "gains", "params": gains, "weight_decay": 0.0},
        {"name": expert_group_name, "params": experts, "weight_decay": settings.weight_decay, "moe": True},
    ]
    return _adamw_without_dynamo(groups, lr=0.0, betas=(settings.beta1, settings.beta2), fused=True)


def zero_states(optimizer: torch.optim.Optimizer) -> None:
    """Give every parameter that `optimizer` steps its AdamW state at step 0."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            optimizer.state[parameter] = {
                "step": torch.zeros((), dtype=torch.float32, device=parameter.device),
                **{moment: torch.zeros_like(parameter, requires_grad=False) for moment in MOMENTS},
            }


def _adamw_without_dynamo(groups: list[dict[str, Any]], **options: Any) -> torch.optim.AdamW:
    """AdamW whose two methods in use are not decorated. The decorators import torch's compiler, two seconds per
    worker, only to tell it to leave these methods alone."""
    plain = inspect.unwrap(torch.optim.Optimizer.add_param_group)
    vars(plain).setdefault("__dynamo_disable", plain)
    optimizer = torch.optim.AdamW(groups, **options)
    vars(optimizer)["step"] = torch.no_grad()(partial(inspect.unwrap(torch.optim.AdamW.step), optimizer))
    return optimizer
