"""`arctic export` writes a folder that is whole and proven, or none."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from arctic_model.export.errors import ExportError, ValidationError
from arctic_model.export.formats import FORMATS
from pipelines.cli import app
from pipelines.errors import OptionError
from pipelines.export.folder import export_to_folder
from tests.kit.tokenizers import write_byte_tokenizer


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from arctic_model import ArcticModel, preset

    pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("model") / "checkpoint"
    ArcticModel(preset("tiny", {"init_std": 0.2}), seed=0).save_pretrained(folder)
    write_byte_tokenizer(folder)
    return folder


def test_the_command_writes_a_folder_and_prints_how_it_agrees(checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "hf"
    done = CliRunner().invoke(app, ["export", str(checkpoint), "--to", "huggingface", "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert "loaded back by                   transformers 5" in done.output
    assert "equal likeliest tokens           100.00%" in done.output
    assert (out / "modeling_arctic.py").is_file()
    assert [path.name for path in out.parent.iterdir()] == ["hf"]


def test_after_a_failed_validation_there_is_no_folder(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("arctic_model.export.validation.LOGIT_TOLERANCE", -1.0)
    with pytest.raises(ValidationError, match="computes another model"):
        export_to_folder(checkpoint, checkpoint, tmp_path / "hf", "huggingface", None)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_exists_is_not_touched(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ExportError, match=rf"--out {tmp_path}: exists already"):
        export_to_folder(checkpoint, checkpoint, tmp_path, "huggingface", None)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize(
    ("to", "dtype", "message"),
    [
        ("onnx", None, "--to onnx: no such format. There are huggingface"),
        ("huggingface", "int4", "dtype = 'int4': huggingface has float32, bfloat16"),
    ],
)
def test_an_unknown_format_or_dtype_is_named(
    checkpoint: Path, tmp_path: Path, to: str, dtype: str | None, message: str
) -> None:
    with pytest.raises(ExportError, match=message):
        export_to_folder(checkpoint, checkpoint, tmp_path / "out", to, dtype)
    assert not list(tmp_path.iterdir())


def test_a_missing_package_is_named_before_anything_is_written(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    from infra.host.packages import PackageError

    monkeypatch.setitem(FORMATS, "huggingface", replace(FORMATS["huggingface"], packages=("no-such-package",)))
    with pytest.raises(PackageError, match="--to huggingface needs no-such-package missing"):
        export_to_folder(checkpoint, checkpoint, tmp_path / "out", "huggingface", None)
    assert not list(tmp_path.iterdir())


def test_a_folder_without_a_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="no such folder"):
        CliRunner().invoke(
            app, ["export", str(tmp_path / "none"), "--to", "huggingface", "--out", "x"], catch_exceptions=False
        )
