"""A fine-tuned checkpoint is marked as such next to its folder, in every copy of the artifact."""

import json
import shutil
from pathlib import Path

from pipelines.artifacts.checkpoint import FINETUNED_FILE, Finetuned, checkpoint_folder

TUNED = Finetuned(chat=True, objective="sft", method="lora", base="ab12")


def test_a_fine_tuned_checkpoint_says_how_it_was_made(tmp_path: Path) -> None:
    artifact = tmp_path / "artifact"
    checkpoint_folder(artifact).mkdir(parents=True)

    TUNED.write(artifact)
    shutil.copytree(artifact, tmp_path / "copy")

    assert Finetuned.read(checkpoint_folder(tmp_path / "copy")) == TUNED
    written = json.loads((artifact / FINETUNED_FILE).read_text())
    assert written == {"chat": True, "objective": "sft", "method": "lora", "base": "ab12"}


def test_a_pretrained_checkpoint_does_not(tmp_path: Path) -> None:
    checkpoint_folder(tmp_path).mkdir()

    assert Finetuned.read(checkpoint_folder(tmp_path)) is None
