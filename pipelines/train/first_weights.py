"""The weights that a run begins with, pinned by their digest. No torch here, and no recipe."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arctic_model.checkpoint.model_folder import CONFIG, weight_files
from infra.store.files import file_digest
from pipelines.artifacts.checkpoint import checkpoint_folder

HASHES = "checkpoint.json"


@dataclass(frozen=True)
class PinnedWeights:
    """The weights at `init_from` of a recipe in `folder`, by their `digest`, and whether moments come too."""

    init_from: str
    folder: Path
    digest: str
    with_optimizer: bool
    field: str = "model.init_from"
    """Field of the recipe that names it."""

    def params(self) -> dict[str, Any]:
        """Plain data for the key of the first phase. The path is not in it."""
        return {"digest": self.digest, "optimizer": self.with_optimizer}

    def require_unchanged(self) -> Path:
        """The folder of the weights. Raises ValueError if they are not the pinned ones any more."""
        source = source_folder(self.init_from, self.folder)
        if digest(source) != self.digest:
            raise ValueError(f"{self.field} = {self.init_from!r} changed since the run was planned. Start it again.")
        return source


def source_folder(init_from: str, folder: Path) -> Path:
    """The weights that a recipe in `folder` names: the folder itself, or the checkpoint in a result of `train`."""
    named = folder / init_from
    inside = checkpoint_folder(named)
    return inside if (inside / CONFIG).is_file() else named


def digest(source: Path) -> str:
    """sha256 of the content of `source`. A checkpoint of ours has the hashes of its files."""
    if (source / HASHES).is_file():
        return file_digest(source / HASHES)
    files = [source / CONFIG, *weight_files(source)]
    content = json.dumps({file.name: file_digest(file) for file in files}, sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()
