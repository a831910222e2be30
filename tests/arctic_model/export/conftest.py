"""A small model with its tokenizer in one folder, and its export for `transformers`."""

from pathlib import Path

import pytest

from arctic_model.export.exporting import export
from arctic_model.export.formats import FORMATS
from arctic_model.export.validation import Agreement
from arctic_model.model import ArcticModel
from arctic_model.presets import preset
from tests.kit.tokenizers import write_byte_tokenizer

CONFIG = preset("tiny", {"init_std": 0.2, "num_layers": 3, "max_positions": 160})


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "checkpoint"
    ArcticModel(CONFIG, seed=0).save_pretrained(folder)
    write_byte_tokenizer(folder)
    return folder


@pytest.fixture(scope="session")
def huggingface(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Agreement]:
    pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("huggingface")
    return folder, export(checkpoint, checkpoint, folder, FORMATS["huggingface"], "float32")
