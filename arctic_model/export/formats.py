"""The formats of an export: the files of each, and the engine that must agree with the model."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from arctic_model.export.errors import ExportError

if TYPE_CHECKING:
    from arctic_model.checkpoint.reading import Checkpoint

Write = Callable[["Checkpoint", Path, Path, str], None]
"""Writes a checkpoint with the tokenizer of a folder into a folder, in a dtype."""


@dataclass(frozen=True)
class Format:
    """A format.

    `max_kl`: by dtype of the weights, the default first, the limit of the mean divergence (see
    `arctic_model.export.validation.require_agreement`); `engine`: the program that validates it; `target`: file of the
    export that the engine loads, "" for the folder; `packages`: distributions that writing and validating need.
    """

    name: str
    max_kl: Mapping[str, float | None]
    engine: str
    target: str
    packages: tuple[str, ...]
    write: Write

    def dtype(self, wanted: str | None) -> str:
        """`wanted`, or the default. Raises ExportError if the format has no such dtype."""
        if wanted is None:
            return next(iter(self.max_kl))
        if wanted not in self.max_kl:
            raise ExportError(f"dtype = {wanted!r}: {self.name} has {', '.join(self.max_kl)}. Use one of them.")
        return wanted


def _huggingface(checkpoint: "Checkpoint", tokenizer: Path, out: Path, dtype: str) -> None:
    # torch takes seconds to import, and a plan needs the names of the formats only.
    from arctic_model.export.huggingface import write_huggingface

    write_huggingface(checkpoint, tokenizer, out, dtype)


def _gguf(checkpoint: "Checkpoint", tokenizer: Path, out: Path, dtype: str) -> None:
    from arctic_model.export.gguf.file import write_gguf

    write_gguf(checkpoint, tokenizer, out, dtype)


def _fp8(checkpoint: "Checkpoint", tokenizer: Path, out: Path, dtype: str) -> None:  # noqa: ARG001 - it has one
    from arctic_model.export.fp8 import write_fp8

    write_fp8(checkpoint, tokenizer, out)


FORMATS: Mapping[str, Format] = {
    "huggingface": Format(
        "huggingface", {"float32": None, "bfloat16": 0.02}, "transformers_logits", "", ("transformers",), _huggingface
    ),
    "gguf": Format(
        "gguf",
        {"float16": 0.01, "float32": None, "q8_0": 0.05},
        "llama_cpp_logits",
        "model.gguf",
        ("gguf", "llama-cpp-python"),
        _gguf,
    ),
    "fp8": Format("fp8", {"float8_e4m3": 0.05}, "transformers_logits", "", ("transformers",), _fp8),
}
"""By name, as recipes and `arctic export --to` have them."""
