"""AdamW, or Muon for the matrices of the layers, over groups of parameters."""

import inspect
from typing import Any

import torch
from torch import Tensor
from torch.optim.adamw import adamw

from arctic_model.checkpoint.tensors.names import is_expert
from arctic_model.model import ArcticModel
from arctic_model.training.optimization.muon import FlatMatrices, Partition, muon_step, partition
from arctic_model.training.optimization.settings import MOMENTS, MOMENTUM_BUFFER, Optimization

LEFT_TO_ADAMW = {"embed_tokens": "embeddings", "lm_head": "head", ".gate.": "gates"}
"""Groups of the matrices that AdamW updates in a model trained with Muon, by a part of the parameter's name."""
EPSILON = 1e-8
"""AdamW's, as in the paper and in torch."""


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

    def set_updates(self, updates: int) -> None:
        """Set the number of past updates."""
        for state in self.state.values():
            state["step"].fill_(updates)

    def zero_states(self) -> None:
        """Create every state as zeros, so that saving and loading have no special first step."""
        for group in self.param_groups:
            names = (MOMENTUM_BUFFER,) if group["muon"] else MOMENTS
            for parameter in group["params"]:
                self.state[parameter] = {name: torch.zeros_like(parameter, requires_grad=False) for name in names}
                self.state[parameter]["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device)

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """Update weights and states with the settings of `prepare`."""
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
        tensors = []
        for parameter, gradient in gradients.items():
            state = self.state[parameter]
            state["step"] += 1
            whole = partition([(0, parameter.shape)], parameter.numel(), 0) if parameter.dim() > 1 else None
            flat = (parameter.view(-1), gradient.reshape(-1), state[MOMENTUM_BUFFER].view(-1))
            tensors.append(FlatMatrices(*flat, whole or self.partitions[parameter]))
        muon_step(tensors, learning_rate=group["lr"], weight_decay=group["weight_decay"], dtype=self._dtype)

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

    Matrices decay; gains of norms, biases and sinks do not. Experts are a separate group, which DeepSpeed reduces over
    the workers that hold the same experts (`moe`, `name`: its words).
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
