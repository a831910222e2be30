"""An export that differs from the model is not committed, and the error contains the difference."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from arctic_model.checkpoint.workers import CheckpointError
from arctic_model.export.capabilities import FEATURES, LOADED_BY, refusals
from arctic_model.export.errors import ExportError, ValidationError
from arctic_model.export.exporting import export
from arctic_model.export.formats import FORMATS
from arctic_model.export.prompts import TEXTS, prompts
from arctic_model.export.validation import Agreement, Answer, Prompt, Request, compare, require_agreement
from arctic_model.presets import preset
from tests.kit.tokenizers import write_byte_tokenizer

HUGGINGFACE = FORMATS["huggingface"]
ROOT = Path(__file__).parents[3]


def agreement(**values: float) -> Agreement:
    equal = {"tokens": 1, "max_difference": 0.0, "argmax_share": 1.0, "mean_kl": 0.0, "greedy_share": 1.0}
    return Agreement(engine="engine 1", bits_per_byte=1.0, engine_bits_per_byte=1.0, **(equal | values))


def test_an_engine_that_computes_something_else_refuses_the_export(checkpoint: Path, tmp_path: Path) -> None:
    pytest.importorskip("transformers")

    def write(stored, tokenizer, out, dtype):
        HUGGINGFACE.write(stored, tokenizer, out, dtype)
        file = next(out.glob("model-00002*"))
        tensors = load_file(file)
        name = next(name for name in tensors if "experts.3.w2" in name)
        save_file(tensors | {name: tensors[name] * 1.01}, file, {"format": "pt"})

    with pytest.raises(ValidationError, match=r"transformers 5.*computes another model.*Nothing was exported"):
        export(checkpoint, checkpoint, tmp_path, replace(HUGGINGFACE, write=write), "float32")


def test_an_engine_that_cannot_load_the_export_is_quoted(checkpoint: Path, tmp_path: Path) -> None:
    pytest.importorskip("transformers")

    def write(stored, tokenizer, out, dtype):
        HUGGINGFACE.write(stored, tokenizer, out, dtype)
        (out / "config.json").unlink()

    with pytest.raises(ValidationError, match=r"ended with code 1:(.|\n)*config\.json"):
        export(checkpoint, checkpoint, tmp_path, replace(HUGGINGFACE, write=write), "float32")


@pytest.mark.parametrize(
    ("values", "max_kl", "is_same"),
    [
        ({}, None, True),
        ({"max_difference": 9e-5}, None, True),
        ({"max_difference": 2e-4}, None, False),
        ({"argmax_share": 0.999}, None, False),
        ({"max_difference": float("nan")}, None, False),
        ({"mean_kl": 0.019, "max_difference": 1.0, "argmax_share": 0.9}, 0.02, True),
        ({"mean_kl": 0.021}, 0.02, False),
        ({"mean_kl": float("nan")}, 0.02, False),
    ],
)
def test_the_limits_of_an_agreement(values: dict[str, float], max_kl: float | None, is_same: bool) -> None:
    if is_same:
        require_agreement(agreement(**values), max_kl)
    else:
        with pytest.raises(ValidationError):
            require_agreement(agreement(**values), max_kl)


def test_figures_of_an_agreement_by_hand() -> None:
    """Two positions of two tokens. KL of (3/4, 1/4) from (1/2, 1/2): 3/4 log 3/2 + 1/4 log 1/2; equal at the second."""
    request = Request([Prompt("ab", (0, 1))], end=(), max_new_tokens=1)
    even, uneven = [0.0, 0.0], [torch.tensor(3.0).log().item(), 0.0]
    ours = Answer("ours", [[0, 1]], [torch.tensor([uneven, [1.0, 2.0]])], [[1]])
    theirs = Answer("theirs", [[0, 1]], [torch.tensor([even, [1.0, 2.0]])], [[0]])
    result = compare(request, ours, theirs)
    expected = (0.75 * torch.tensor(1.5).log() + 0.25 * torch.tensor(0.5).log()) / 2
    assert result.mean_kl == pytest.approx(float(expected))
    assert result.max_difference == pytest.approx(float(torch.tensor(3.0).log()) / 2)
    assert (result.bits_per_byte, result.engine_bits_per_byte) == pytest.approx((1.0, 0.5))
    assert result.greedy_share == 0.0


@pytest.mark.parametrize(("margin", "share"), [(5e-6, 1.0), (5e-5, 0.5)])
def test_two_tokens_that_the_model_itself_cannot_tell_apart_are_no_disagreement(margin: float, share: float) -> None:
    request = Request([Prompt("ab", (0, 1))], end=())
    ours = Answer("ours", [[0, 1]], [torch.tensor([[0.5, 0.5 + margin], [1.0, 2.0]])], [[1]])
    theirs = replace(ours, logits=[torch.tensor([[0.5 + margin, 0.5], [1.0, 2.0]])])
    assert compare(request, ours, theirs).argmax_share == share


def test_another_tokenizer_is_no_agreement() -> None:
    request = Request([Prompt("ab", (0, 1))], end=())
    ours = Answer("ours", [[0, 1]], [torch.zeros(2, 2)], [[1]])
    with pytest.raises(ValidationError, match=r"reads 'ab' as \[1\], and the model as \[0, 1\]"):
        compare(request, ours, replace(ours, ids=[[1]]))


def test_a_damaged_checkpoint_is_not_exported(checkpoint: Path, tmp_path: Path) -> None:
    damaged = shutil.copytree(checkpoint, tmp_path / "damaged")
    file = damaged / "model-00003-of-00005.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    (tmp_path / "out").mkdir()
    with pytest.raises(CheckpointError, match="model-00003"):
        export(damaged, damaged, tmp_path / "out", HUGGINGFACE, "float32")


def test_a_missing_tokenizer_is_named(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"holds no tokenizer\.json.*--tokenizer"):
        export(checkpoint, tmp_path, tmp_path, HUGGINGFACE, "float32")


def test_a_special_token_without_an_id_is_named(checkpoint: Path, tmp_path: Path) -> None:
    write_byte_tokenizer(tmp_path, eos_token="</s>")
    with pytest.raises(ExportError, match=r"eos_token = '</s>' is no token"):
        export(checkpoint, tmp_path, tmp_path, HUGGINGFACE, "float32")


def test_a_dtype_that_a_format_lacks_is_named() -> None:
    with pytest.raises(ExportError, match=r"dtype = 'int4': huggingface has float32, bfloat16"):
        HUGGINGFACE.dtype("int4")
    assert HUGGINGFACE.dtype(None) == "float32"


def test_prompts_fit_the_model_or_there_is_no_export(tmp_path: Path) -> None:
    write_byte_tokenizer(tmp_path)
    fitting = prompts(tmp_path, 70, 16)
    assert 0 < len(fitting) < len(TEXTS)
    assert all(len(prompt.ids) + 16 <= 70 and prompt.ids[0] == 0 for prompt in fitting)
    with pytest.raises(ExportError, match="max_positions = 20"):
        prompts(tmp_path, 20, 16)


def test_a_model_whose_texts_have_no_begin_is_exported_so(tmp_path: Path) -> None:
    write_byte_tokenizer(tmp_path, add_bos_token=False)
    assert prompts(tmp_path, 160, 16)[0].ids[0] != 0


def test_every_refusal_names_an_engine_that_some_format_is_for() -> None:
    engines = {engine for loaders in LOADED_BY.values() for engine in loaders}
    assert all(set(feature.refused) <= engines and not feature.is_used(preset("tiny")) for feature in FEATURES)
    assert refusals(preset("tiny", {"router_bias": True}), "llama.cpp")
    assert refusals(preset("tiny", {"layer_shape": "moe"}), "llama.cpp")
    assert len(refusals(preset("tiny", {"learned_sinks": True}), "vLLM")) == 1
    assert len(refusals(preset("tiny", {"learned_sinks": True, "qk_norm": True}), "vLLM")) == 2
    assert not refusals(preset("tiny", {"router_bias": True}), "transformers")


def test_the_guide_lists_what_an_engine_cannot_compute_as_the_check_does() -> None:
    page = (ROOT / "docs/tutorials/export.md").read_text()
    table = page.partition("## Limits of the engines")[2].partition("\n\n")[2].partition("\n\n")[0]
    header, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines())
    shown = {feature: dict(zip(header[1:], cells, strict=True)) for feature, *cells in rows}
    for feature in FEATURES:
        expected = {engine: "no" if engine in feature.refused else "yes" for engine in header[1:]}
        assert shown[feature.name] == expected


def test_the_files_of_an_export_are_plain_json(huggingface: tuple[Path, Agreement]) -> None:
    for file in huggingface[0].glob("*.json"):
        json.loads(file.read_text())


@pytest.mark.parametrize(
    ("overrides", "to", "dtype", "message"),
    [
        (
            {"router_bias": True},
            "gguf",
            "float16",
            r"to = 'gguf': llama.cpp cannot compute router bias.*huggingface",
        ),
        (
            {"learned_sinks": True},
            "gguf",
            "float16",
            r"to = 'gguf': llama.cpp cannot compute learned sinks.*huggingface",
        ),
        ({"expert_size": 24}, "gguf", "q8_0", r"dtype = 'q8_0': expert_size = 24 is no multiple of 32.*Use float16"),
    ],
)
def test_what_a_format_cannot_express_is_refused_before_anything_is_written(
    overrides: dict[str, int], to: str, dtype: str, message: str, tmp_path: Path
) -> None:
    from arctic_model.model import ArcticModel

    ArcticModel(preset("tiny", overrides), seed=0).save_pretrained(tmp_path / "checkpoint")
    write_byte_tokenizer(tmp_path)
    (tmp_path / "out").mkdir()
    with pytest.raises(ExportError, match=message):
        export(tmp_path / "checkpoint", tmp_path, tmp_path / "out", FORMATS[to], dtype)
    assert not list((tmp_path / "out").iterdir())
