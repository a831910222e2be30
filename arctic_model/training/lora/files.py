"""Adapters on disk, in the format of PEFT, so that `peft.PeftModel.from_pretrained` loads them on an export.

    <folder>/adapter_model.safetensors     base_model.model.<name>.lora_A.weight and lora_B.weight
    <folder>/adapter_config.json           rank, alpha and the modules that have an adapter

The header of the first holds the digest of the weights that the adapters were trained on.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from arctic_model.checkpoint.errors import CheckpointError
from arctic_model.training.lora.adapters import MATRICES
from arctic_model.training.optimization.settings import Lora, LoraTarget

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
PREFIX = "base_model.model."
"""Before the names of a model's tensors in PEFT."""


def write_adapter(folder: Path, lora: Lora, tensors: Mapping[str, Tensor], base: str) -> None:
    """Write adapters into `folder`, which is created.

    Args:
        folder: holds nothing yet.
        lora: how the adapters were made.
        tensors: A and B of every adapter by the names of the model's parameters.
        base: digest of the weights that they belong to.
    """
    folder.mkdir(parents=True)
    named = {f"{PREFIX}{name}": tensor.detach().float().contiguous().cpu() for name, tensor in sorted(tensors.items())}
    # One entry of metadata: the library writes several in an order that changes from file to file.
    save_file(named, folder / WEIGHTS, metadata={"base": base})
    (folder / CONFIG).write_text(json.dumps(_config(lora), indent=1, sort_keys=True), encoding="utf-8")


def read_adapter(folder: Path, base: str) -> tuple[Lora, dict[str, Tensor]]:
    """The adapters in `folder`, for the weights with the digest `base`.

    Raises:
        CheckpointError: if there are none, or they belong to other weights.
    """
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        with safe_open(folder / WEIGHTS, "pt") as file:
            trained_on = (file.metadata() or {}).get("base")
            tensors = {name.removeprefix(PREFIX): file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder}: holds no readable adapter ({error}). Fine-tune again.") from error
    if trained_on != base:
        raise CheckpointError(
            f"{folder}: the adapter was trained on the weights {str(trained_on)[:12]}, not on {base[:12]}. Name the "
            "checkpoint that it was trained on."
        )
    modules = config["target_modules"]
    targets: tuple[LoraTarget, ...] = tuple(target for target, (module, _) in MATRICES.items() if module in modules)
    return Lora(config["r"], config["lora_alpha"], config["use_rslora"], targets, config["lora_dropout"]), tensors


def _config(lora: Lora) -> dict[str, Any]:
    modules = (MATRICES[target] for target in lora.targets)
    pattern = "|".join(rf"{module}\.({'|'.join(names)})" for module, names in modules)
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": None,
        "r": lora.rank,
        "lora_alpha": lora.alpha,
        "use_rslora": lora.rslora,
        "lora_dropout": lora.dropout,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        # The experts have matrices of these names too.
        "target_modules": rf".*\.({pattern})",
    }
