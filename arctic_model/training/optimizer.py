"""AdamW, or Muon for the matrices of the layers, over groups of parameters."""

import inspect
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.optim.adamw import adamw

from arctic_model.checkpoint.tensor_names import is_expert
from arctic_model.model import ArcticModel
from arctic_model.training.lora.adapters import Lora
from arctic_model.training.muon import Partition, muon_step, partition

MOMENTS = ("exp_avg", "exp_avg_sq")
MOMENTUM_BUFFER = "momentum_buffer"
LEFT_TO_ADAMW = {"embed_tokens": "embeddings", "lm_head": "head", ".gate.": "gates"}
"""Groups of the matrices that AdamW updates beside Muon, by a part of the parameter's name."""
EPSILON = 1e-8
"""AdamW's, as in the paper and in torch."""


@dataclass(frozen=True)
class Optimization:
    """How a step changes the weights: AdamW (Loshchilov and Hutter 2017, arXiv 1711.05101) or Muon (see
    `arctic_model.training.muon`), clipping to a global gradient norm, and the weights of the router's two losses."""

    optimizer: Literal["adamw", "muon"] = "adamw"
    embedding_lr_factor: float = 1.0
    head_lr_factor: float = 1.0
    gate_lr_factor: float = 1.0
    norm_lr_factor: float = 1.0
    """With Muon: learning rates of the parameters that AdamW updates, as multiples of Muon's."""
    weight_decay: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.95
    gradient_clip: float = 1.0
    balance_loss_coefficient: float = 0.01
    z_loss_coefficient: float = 0.0
    balance_bias_rate: float = 0.0
    capacity_factor: float = 0.0
    activation_checkpointing: Literal["none", "selective", "layer"] = "none"
    dtype: Literal["float32", "bfloat16"] = "float32"
    gradient_dtype: Literal["float32", "bfloat16"] = "float32"
    """Dtype in which gradients accumulate, over micro-batches and over workers."""
    zero_stage: Literal[0, 1, 2] = 1
    seed: int = 0
    lora: Lora | None = None
    """Adapters to train beside frozen weights. None trains every weight."""

    def uses_muon(self, name: str) -> bool:
        """Whether Muon updates the parameter `name`: the matrices of the layers, and each expert's.

        AdamW updates embeddings, head and the gate of the router, which do not map hidden states to hidden states, and
        the gains and biases, which are vectors (Jordan et al. 2024).
        """
        inside = self.optimizer == "muon" and ".layers." in name
        return inside and not name.endswith(("norm.weight", ".gate.weight", ".bias"))

    def state_names(self, name: str) -> tuple[str, ...]:
        """Kinds of the optimizer state of the parameter `name`."""
        return (MOMENTUM_BUFFER,) if self.uses_muon(name) else MOMENTS


class GroupedOptimizer(torch.optim.Optimizer):
    """Updates each group by its rule, at `lr` (the rate of the step times its `lr_factor`), with gradients times
    `gradient_scale`; without a scale it changes neither weights nor states.

    DeepSpeed replaces the parameters of a group by one flat part of them and steps groups one by one. `partitions`
    then maps the flat part of a Muon group to its matrices.
    """

    def __init__(self, groups: list[dict[str, Any]], settings: Optimization) -> None:
        _leave_methods_to_python()
        super().__init__(groups, {"lr": 0.0, "gradient_scale": None})
        self.partitions: dict[Tensor, Partition] = {}
        self._betas = (settings.beta1, settings.beta2)
        self._dtype = getattr(torch, settings.dtype)

    def prepare(self, learning_rate: float, gradient_scale: float | None) -> None:
        """Set learning rate and gradient scale of the next `step`; a scale of None skips it."""
        for group in self.param_groups:
            group.update(lr=learning_rate * group["lr_factor"], gradient_scale=gradient_scale)

    def zero_states(self) -> None:
        """Create every state as zeros, so that saving and loading have no special first step."""
        for group in self.param_groups:
            names = (MOMENTUM_BUFFER,) if group["muon"] else MOMENTS
            for parameter in group["params"]:
                self.state[parameter] = {name: torch.zeros_like(parameter, requires_grad=False) for name in names}
                self.state[parameter]["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device)

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """Update weights and states with what `prepare` set."""
        for group in self.param_groups:
            if group["gradient_scale"] is None:
                continue
            gradients = {parameter: parameter.grad for parameter in group["params"] if parameter.grad is not None}
            if group["gradient_scale"] != 1.0:
                torch._foreach_mul_(list(gradients.values()), group["gradient_scale"])
            if group["muon"]:
                self._muon(group, gradients)
            else:
                self._adamw(group, gradients)

    def _muon(self, group: dict[str, Any], gradients: dict[Tensor, Tensor]) -> None:
        for parameter, gradient in gradients.items():
            state = self.state[parameter]
            whole = partition([(0, parameter.shape)], parameter.numel(), 0) if parameter.dim() > 1 else None
            state["step"] += 1
            muon_step(
                parameter.view(-1),
                gradient.reshape(-1),
                state[MOMENTUM_BUFFER].view(-1),
                whole or self.partitions[parameter],
                learning_rate=group["lr"],
                weight_decay=group["weight_decay"],
                dtype=self._dtype,
            )

    def _adamw(self, group: dict[str, Any], gradients: dict[Tensor, Tensor]) -> None:
        states = [self.state[parameter] for parameter in gradients]
        exp_avgs, exp_avg_sqs, steps = ([state[name] for state in states] for name in (*MOMENTS, "step"))
        adamw(
            list(gradients),
            list(gradients.values()),
            exp_avgs,
            exp_avg_sqs,
            [],
            steps,
            fused=True,
            amsgrad=False,
            beta1=self._betas[0],
            beta2=self._betas[1],
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=EPSILON,
            maximize=False,
        )


def new_optimizer(model: ArcticModel, settings: Optimization, expert_group_name: str) -> GroupedOptimizer:
    """The optimizer of `model`, without states yet.

    Matrices decay, gains of norms and biases do not. Experts are a group of their own, which DeepSpeed reduces over the
    workers that hold the same experts (`moe`, `name`: its words).
    """
    muon = settings.optimizer == "muon"
    decaying = {"weight_decay": settings.weight_decay, "lr_factor": 1.0, "muon": False}
    kinds: dict[str, dict[str, Any]] = {
        "layers": decaying | {"muon": True},
        "matrices": decaying,
        "embeddings": decaying | {"lr_factor": settings.embedding_lr_factor},
        "head": decaying | {"lr_factor": settings.head_lr_factor},
        "gates": decaying | {"lr_factor": settings.gate_lr_factor},
        "gains": {"weight_decay": 0.0, "lr_factor": settings.norm_lr_factor if muon else 1.0, "muon": False},
        expert_group_name: decaying | {"muon": muon, "moe": True},
    }
    members: dict[str, list[Tensor]] = {name: [] for name in kinds}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            members[_kind(name, parameter, settings, expert_group_name)].append(parameter)
    groups = [{"name": name, "params": members[name], **kinds[name]} for name in kinds if members[name]]
    return GroupedOptimizer(groups, settings)


def _kind(name: str, parameter: Tensor, settings: Optimization, expert_group_name: str) -> str:
    if is_expert(name):
        return expert_group_name
    if parameter.dim() == 1:
        return "gains"
    if settings.optimizer == "adamw":
        return "matrices"
    return next((kind for part, kind in LEFT_TO_ADAMW.items() if part in name), "layers")


def _leave_methods_to_python() -> None:
    """Avoid a decorator of torch's optimizers that imports torch's compiler, two seconds per worker, only to exclude
    the method from compilation."""
    plain = inspect.unwrap(torch.optim.Optimizer.add_param_group)
    vars(plain).setdefault("__dynamo_disable", plain)
