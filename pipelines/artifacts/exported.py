"""The output of `export`.

model/           files that other engines load: see `arctic_model.export`
agreement.json   how the engine that validated it agrees with the model
"""

import json
from pathlib import Path
from typing import Any

from infra.store.integrity import read_committed

MODEL = "model"
AGREEMENT = "agreement.json"


def write_agreement(folder: Path, agreement: dict[str, Any]) -> None:
    """Write the fields of an `arctic_model.export.validation.Agreement`."""
    (folder / AGREEMENT).write_text(json.dumps(agreement, indent=1, sort_keys=True), encoding="utf-8")


def read_agreement(folder: Path) -> dict[str, Any]:
    """The inverse of `write_agreement`."""
    agreement: dict[str, Any] = json.loads(read_committed(folder / AGREEMENT))
    return agreement
