"""Folders that are not a model of ours, or only half of one: the loader of `generate`, `chat` and `serve` refuses them,
and runs none of their code."""

import json
import shutil
from pathlib import Path

import pytest

from arctic_model.checkpoint.errors import CheckpointError
from arctic_model.checkpoint.reading import Checkpoint
from arctic_model.export.formats import FORMATS
from pipelines.models.loading import load_model
from pipelines.models.source import ModelSource
from tests.pipelines.serve.conftest import TEXT

CODE = "from pathlib import Path\nPath({marker!r}).touch()\n"


@pytest.fixture
def export(checkpoint: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "export"
    folder.mkdir()
    FORMATS["huggingface"].write(Checkpoint(checkpoint), checkpoint, folder, "float32")
    return folder


def plant(file: Path, marker: Path) -> None:
    """Code instead of a file, which leaves a mark if it is run."""
    file.write_text(CODE.format(marker=str(marker)), encoding="utf-8")


def test_code_in_an_arctic_directory_is_not_run(export: Path, checkpoint: Path, tmp_path: Path) -> None:
    for file in export.glob("*.py"):
        plant(file, tmp_path / "marker")
    loaded, own = load_model(ModelSource(export)), load_model(ModelSource(checkpoint))
    assert loaded.codec.encode(TEXT) == own.codec.encode(TEXT)
    assert not (tmp_path / "marker").exists()


def test_a_model_that_only_its_own_code_could_load_is_refused_and_not_run(export: Path, tmp_path: Path) -> None:
    config = json.loads((export / "config.json").read_text())
    names = {"AutoConfig": "configuration_other.OtherConfig", "AutoModelForCausalLM": "modeling_other.OtherForCausalLM"}
    config |= {"model_type": "other", "architectures": ["OtherForCausalLM"], "auto_map": names}
    (export / "config.json").write_text(json.dumps(config))
    for name in ("configuration_other.py", "modeling_other.py"):
        plant(export / name, tmp_path / "marker")
    with pytest.raises(ValueError, match=str(export)):
        load_model(ModelSource(export))
    assert not (tmp_path / "marker").exists()


def test_a_tokenizer_that_names_code_is_not_run(export: Path, tmp_path: Path) -> None:
    described = json.loads((export / "tokenizer_config.json").read_text())
    described |= {
        "tokenizer_class": "OtherTokenizer",
        "auto_map": {"AutoTokenizer": ["tokenization_other.OtherTokenizer", None]},
    }
    (export / "tokenizer_config.json").write_text(json.dumps(described))
    plant(export / "tokenization_other.py", tmp_path / "marker")
    load_model(ModelSource(export))
    assert not (tmp_path / "marker").exists()


def test_half_an_export_is_named(export: Path) -> None:
    lost = sorted(export.glob("*.safetensors"))[1]
    lost.unlink()
    with pytest.raises(CheckpointError, match=lost.name):
        load_model(ModelSource(export))


def test_an_export_that_was_cut_off_is_named(export: Path) -> None:
    cut = sorted(export.glob("*.safetensors"))[1]
    cut.write_bytes(cut.read_bytes()[:-64])
    with pytest.raises(CheckpointError, match=cut.name):
        load_model(ModelSource(export))


def test_pickled_weights_are_not_read(checkpoint: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pickled"
    folder.mkdir()
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(checkpoint / name, folder / name)
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(CheckpointError, match="pytorch_model.bin is pickled"):
        load_model(ModelSource(folder))
