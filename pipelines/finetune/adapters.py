"""The result of a LoRA fine-tune: adapters in PEFT's format, and a checkpoint in which they are merged."""

import shutil
from pathlib import Path

from arctic_model.checkpoint.reading import Checkpoint
from arctic_model.training.lora import Lora, is_adapter, write_adapter, write_merged
from pipelines.artifacts.checkpoint import ADAPTER, checkpoint_folder


def merge(out: Path, base: Path, digest: str, lora: Lora) -> int:
    """Replace the checkpoint of adapters in the artifact `out` by one of merged weights, and write the adapters
    separately.

    Args:
        out: an artifact with a checkpoint of adapters alone.
        base: folder of the weights that they were trained on.
        digest: of these weights.
        lora: how they were made.

    Returns:
        Number of parameters of all adapters.
    """
    trained = Checkpoint(checkpoint_folder(out))
    tensors = {name: trained.read(name) for name in trained.names if is_adapter(name) and name.endswith(".weight")}
    write_adapter(out / ADAPTER, lora, tensors, digest)
    write_merged(out / "merged", base, lora, tensors, trained.state)
    shutil.rmtree(trained.folder)
    (out / "merged").rename(trained.folder)
    return sum(tensor.numel() for tensor in tensors.values())
