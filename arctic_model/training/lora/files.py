"""Adapters on disk, in the format of PEFT, so that `peft.PeftModel.from_pretrained` loads them on an export.

    <folder>/adapter_model.safetensors     base_model.model.<name>.lora_A.weight and lora_B.weight
    <folder>/adapter_config.json           rank, alpha and the modules that have an adapter

The header of the first holds the digest of the weights that the adapters were trained on.
"""

import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from arctic_model.checkpoint.errors import CheckpointError
from arctic_model.training.lora.adapters import LORA_A, LORA_B, MATRICES
from arctic_model.training.lora.tokens import EMBEDDING, HEAD, TRAINED_TOKENS
from arctic_model.training.optimization.settings import Lora, LoraTarget

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
PREFIX = "base_model.model."
"""Before the names of a model's tensors in PEFT."""
EXPERT = re.compile(r"(?P<experts>.*\.experts)\.(?P<number>\d+)\.(?P<part>\w+)\.weight")
"""The name of one expert's adapter in a checkpoint."""
STACKS = {
    f"{pair}_{part}": f"{layer}.{part}.weight"
    for pair, layer in (("gate_up", ".base_layer"), ("down", ""))
    for part in (LORA_A, LORA_B)
}
"""Suffix of the name of the experts in PEFT, which wraps the parameter `gate_up_proj` first and `down_proj` around
it."""

OUR_ROWS, THEIR_ROWS = f"{TRAINED_TOKENS}.weight", "token_adapter.trainable_tokens_delta"
"""Suffix of the name of trained rows in a checkpoint and in PEFT, which holds whole rows under that name."""


def write_adapter(folder: Path, lora: Lora, tensors: Mapping[str, Tensor], base: str) -> None:
    """Write adapters into `folder`, which is created.

    Args:
        folder: holds nothing yet.
        lora: how the adapters were made.
        tensors: A and B of every adapter, and the rows of trained tokens, by the names of a checkpoint.
        base: digest of the weights that they belong to.
    """
    folder.mkdir(parents=True)
    named = {f"{PREFIX}{name}": tensor.contiguous().cpu() for name, tensor in sorted(_stacked(tensors).items())}
    # One entry of metadata: the library writes several in an order that changes from file to file.
    save_file(named, folder / WEIGHTS, metadata={"base": base})
    modules = [module for module in (EMBEDDING, HEAD) if f"{module}.{OUR_ROWS}" in tensors]
    (folder / CONFIG).write_text(json.dumps(_config(lora, modules), indent=1, sort_keys=True), encoding="utf-8")


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
    targets: list[LoraTarget] = [target for target, (module, _) in MATRICES.items() if module in modules]
    if config.get("target_parameters"):
        targets.append("experts")
    scale, dropout = (config["lora_alpha"], config["use_rslora"]), config["lora_dropout"]
    tokens: list[int] = next(iter((config.get("trainable_token_indices") or {}).values()), [])
    lora = Lora(config["r"], *scale, tuple(targets), dropout, tokens=tuple(tokens))
    return lora, _unstacked(tensors, lora.rank)


def _stacked(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors by PEFT's names: the adapters of all experts of a layer in two matrices, A [E r, D_in] with the rows of
    one expert after those of another, and B [D_out, r E] in which the expert is the fastest index."""
    named, experts = {}, defaultdict[str, dict[int, Tensor]](dict)
    for name, tensor in tensors.items():
        if match := EXPERT.fullmatch(name):
            experts[match["experts"] + STACKS[match["part"]]][int(match["number"])] = tensor.detach().float()
        else:
            named[name.replace(OUR_ROWS, THEIR_ROWS)] = tensor.detach().float()
    for name, by_number in experts.items():
        matrices = [by_number[number] for number in sorted(by_number)]
        named[name] = torch.cat(matrices) if LORA_A in name else torch.stack(matrices, dim=-1).flatten(1)
    return named


def _unstacked(named: Mapping[str, Tensor], rank: int) -> dict[str, Tensor]:
    """The reverse of `_stacked`."""
    tensors = {}
    for name, tensor in named.items():
        module, _, _ = name.partition(".experts.")
        if module == name:
            tensors[name.replace(THEIR_ROWS, OUR_ROWS)] = tensor
            continue
        part = next(part for part, suffix in STACKS.items() if name == f"{module}.experts{suffix}")
        matrices = tensor.split(rank) if LORA_A in name else tensor.unflatten(1, (rank, -1)).unbind(-1)
        tensors |= {f"{module}.experts.{number}.{part}.weight": each for number, each in enumerate(matrices)}
    return tensors


def _config(lora: Lora, modules_of_tokens: Sequence[str]) -> dict[str, Any]:
    modules = [MATRICES[target] for target in lora.targets if target in MATRICES]
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
        "target_modules": rf".*\.({pattern})" if modules else [],
        "target_parameters": ["experts.gate_up_proj", "experts.down_proj"] if "experts" in lora.targets else None,
        # PEFT names a module by the end of its name.
        "trainable_token_indices": {each.rpartition(".")[2]: list(lora.tokens) for each in modules_of_tokens} or None,
    }
