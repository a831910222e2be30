"""Arctic's dense-MoE hybrid in torch: the model, its training, its checkpoints, and its cost.

    >>> import torch
    >>> from arctic_model import ArcticModel, SparseMoE, preset
    >>> model = ArcticModel(preset("tiny"), seed=0)         # a whole language model
    >>> model(torch.tensor([[1, 2, 3]])).shape
    torch.Size([1, 3, 384])
    >>> moe = SparseMoE(preset("tiny"))                     # its experts, for a model of your own
    >>> moe(torch.randn(2, 16, 32)).shape
    torch.Size([2, 16, 32])

`ArcticModel.from_pretrained(folder)` reads a checkpoint. `arctic_model.sizing` computes FLOPs, memory and step time of
a config. This module, `config`, `presets` and `sizing` do not import torch; nothing here imports Ray or MLflow.

Shapes are written with one set of letters:

    B  sequences in a batch           E  experts
    T  tokens in a sequence           E' experts that one worker holds
    N  tokens, B * T                  K  experts per token (top-k)
    D  width of the model             F  width of an expert
    H  query heads                    V  vocabulary
    G  key-value heads                L  layers
    C  width of a head, D / H         A  rows that one worker sends to experts, at most N * K
    M  rows that its experts compute  R  rows in flight or in a padded layout
    S  keys in attention; elements of a flat tensor

Inside the package each name may import those to its left:

    config < checkpoint, kernels < weight_init < layers < moe < layer < inference < model < training < roofline
    config < presets, sizing
    machine_code < inference, export
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from arctic_errors import ArcticError, UserError
    from arctic_model import sizing
    from arctic_model.checkpoint.errors import CheckpointError
    from arctic_model.config import ArcticConfig
    from arctic_model.inference.sampling import GenerationError, Sampling
    from arctic_model.inference.streaming import Stream, StreamWindow
    from arctic_model.model import ArcticModel
    from arctic_model.moe.balance import RoutingBalance, routing_balance
    from arctic_model.moe.dispatch import ExpertGroup
    from arctic_model.moe.router import Routing
    from arctic_model.moe.sparse_moe import MoEOutput, SparseMoE
    from arctic_model.presets import preset

__all__ = [
    "ArcticConfig",
    "ArcticError",
    "ArcticModel",
    "CheckpointError",
    "ExpertGroup",
    "GenerationError",
    "MoEOutput",
    "Routing",
    "RoutingBalance",
    "Sampling",
    "SparseMoE",
    "Stream",
    "StreamWindow",
    "UserError",
    "preset",
    "routing_balance",
    "sizing",
]

_MODULES = {
    "ArcticConfig": "arctic_model.config",
    "ArcticError": "arctic_errors",
    "ArcticModel": "arctic_model.model",
    "CheckpointError": "arctic_model.checkpoint.errors",
    "ExpertGroup": "arctic_model.moe.dispatch",
    "GenerationError": "arctic_model.inference.sampling",
    "MoEOutput": "arctic_model.moe.sparse_moe",
    "Routing": "arctic_model.moe.router",
    "RoutingBalance": "arctic_model.moe.balance",
    "Sampling": "arctic_model.inference.sampling",
    "SparseMoE": "arctic_model.moe.sparse_moe",
    "Stream": "arctic_model.inference.streaming",
    "StreamWindow": "arctic_model.inference.streaming",
    "UserError": "arctic_errors",
    "preset": "arctic_model.presets",
    "routing_balance": "arctic_model.moe.balance",
}


def __getattr__(name: str) -> Any:
    # Imported on first use, so that a config or a memory estimate costs no import of torch.
    if name == "sizing":
        return importlib.import_module("arctic_model.sizing")
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    raise AttributeError(f"module 'arctic_model' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
