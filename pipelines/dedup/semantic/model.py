"""The embedding model in a folder: a static one, or a sentence transformer."""

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np

from infra.store import file_digest
from pipelines.dedup.semantic.encoder import is_encoder, load_encoder, read_encoder
from pipelines.dedup.semantic.static_model import load_static_model, static_files


class EmbeddingModel(Protocol):
    """Gives texts directions, as in `vectors`."""

    @property
    def width(self) -> int: ...
    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """int16 [texts, D]; zeros for a text without a direction."""


def fingerprint_model(folder: Path) -> str:
    """Digest of the files of the model in `folder`. Raises ValueError if it cannot be used."""
    if not is_encoder(folder):
        load_static_model(folder)
    return _digest(folder)


def packages_of(folder: Path) -> tuple[str, ...]:
    """Distributions that the model in `folder` needs, of those that not every installation has."""
    return ("transformers",) if is_encoder(folder) else ()


@lru_cache(maxsize=1)
def pinned_model(folder: Path, digest: str) -> EmbeddingModel:
    """The model in `folder`, cached for the next shard. Raises RuntimeError if its digest is another one."""
    if _digest(folder) != digest:
        raise RuntimeError(f"{folder}: changed since the run was planned. Start the run again.")
    return load_model(folder)


def load_model(folder: Path) -> EmbeddingModel:
    """The model in `folder`. Raises ValueError if a file is missing or holds something else."""
    return load_encoder(folder) if is_encoder(folder) else load_static_model(folder)


def _digest(folder: Path) -> str:
    files = read_encoder(folder).files if is_encoder(folder) else static_files(folder)
    return hashlib.sha256("\n".join(map(file_digest, files)).encode()).hexdigest()
