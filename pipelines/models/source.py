"""A checkpoint by its path: ours, or a Hugging Face directory."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import torch

from arctic_model.checkpoint.model_folder import CONFIG, is_supported, read_config
from arctic_model.checkpoint.reading import INDEX, Checkpoint
from arctic_model.model import ArcticModel
from arctic_model.moe.dispatch import ExpertGroup
from arctic_model.sizing.parallel import require_divided_experts
from infra.store import file_digest
from infra.store.integrity import damage_named, require_intact
from pipelines.artifacts.checkpoint import Finetuned

STORED = "stored"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


@dataclass(frozen=True)
class ModelSource:
    """A model and its device. `tokenizer`: folder of its tokenizer, None if that is the checkpoint's own.

    `dtype`: of the weights; results of two runs are the same bytes on a CPU in float32. With STORED,
    weights of an Arctic model that the folder has in bfloat16 stay so, for half the memory; all others are float32.
    """

    checkpoint: Path
    tokenizer: Path | None = None
    device: str = "cpu"
    dtype: str = "float32"

    @classmethod
    def here(cls, checkpoint: Path, tokenizer: Path | None, dtype: str = STORED) -> "ModelSource":
        """The model on this machine: on its GPU in bfloat16 if it has one, else on the CPU in `dtype`."""
        if torch.cuda.is_available():
            return cls(checkpoint, tokenizer, "cuda", "bfloat16")
        return cls(checkpoint, tokenizer, "cpu", dtype)

    @property
    def is_ours(self) -> bool:
        return (self.checkpoint / INDEX).is_file()

    @property
    def is_supported(self) -> bool:
        """Whether `arctic_model` runs it: one of ours, or a Hugging Face directory of an Arctic model or of a dense one
        that has the same layers."""
        return self.is_ours or is_supported(self.checkpoint)

    @property
    def is_chat_model(self) -> bool:
        """Whether it learnt the chat template of its tokenizer, if that has one: a checkpoint of ours records it, and
        of a Hugging Face model the template itself is the only sign."""
        if not self.is_ours:
            return True
        finetuned = Finetuned.read(self.checkpoint)
        return finetuned is not None and finetuned.chat

    @property
    def packages(self) -> tuple[str, ...]:
        """Distributions of the extra `evaluate` that it needs."""
        return () if self.is_ours else ("transformers",)

    @property
    def tokenizer_folder(self) -> Path:
        return self.tokenizer or self.checkpoint

    @property
    def vocabulary_size(self) -> int | None:
        """Rows of the embedding; None if a foreign configuration does not have the number."""
        if self.is_ours:
            require_intact(self.checkpoint / CONFIG)
            return Checkpoint(self.checkpoint).config.vocab_size
        config = json.loads((self.checkpoint / "config.json").read_text(encoding="utf-8"))
        size: int | None = config.get("vocab_size", config.get("text_config", {}).get("vocab_size"))
        return size

    def digest(self) -> str:
        """sha256 of weights, architecture, tokenizer and whether it is a chat model, and of properties that change
        rounding: dtype, kind of device, and which library runs a Hugging Face model."""
        names = [INDEX] if self.is_ours else ["config.json", "generation_config.json"]
        weights = [] if self.is_ours else sorted(self.checkpoint.glob("*.safetensors"))
        tokenizer = [self.tokenizer_folder / name for name in TOKENIZER_FILES]
        files = [self.checkpoint / name for name in names] + weights + tokenizer
        digests = [file_digest(file) for file in files if file.is_file()]
        engine = [] if self.is_ours or not self.is_supported else ["arctic_model"]
        content = [digests, self.is_chat_model, self.dtype, torch.device(self.device).type, *engine]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def read_weights(self, group: ExpertGroup | None = None) -> ArcticModel:
        """The Arctic model on its device, in its dtype, in evaluation mode. The processes of `group` share its experts.
        Raises CheckpointError if it cannot be read, DamageError if a committed file is damaged."""
        with damage_named(self.checkpoint):
            dtype = None if self.dtype == STORED else getattr(torch, self.dtype)
            return ArcticModel.from_pretrained(self.checkpoint, dtype=dtype, device=self.device, group=group)

    def require_shareable(self, expert_parallel_size: int) -> None:
        """Raises ValueError if this number of processes cannot share the experts of this model."""
        if expert_parallel_size == 1:
            return
        if not self.is_supported or not read_config(self.checkpoint).num_experts:
            raise ValueError(
                f"{self.checkpoint}: expert_parallel_size = {expert_parallel_size} shares the experts of Arctic models "
                "only, and this model has none. Set 1."
            )
        require_divided_experts(expert_parallel_size, read_config(self.checkpoint).num_experts)

    def require(self) -> None:
        """Raises ValueError if the folder holds no checkpoint."""
        if not self.is_ours and not (self.checkpoint / "config.json").is_file():
            raise ValueError(
                f"{self.checkpoint}: no checkpoint. It holds neither {INDEX} (one of ours) nor config.json (a Hugging "
                "Face model). Give the folder that holds the weights."
            )
