"""The recipe quickstart_long with fewer tokens and documents: two lengths, and their measures."""

from pathlib import Path

import pytest

import pipelines
from arctic_model.checkpoint.reading import Checkpoint
from pipelines.artifacts.checkpoint import checkpoint_folder
from pipelines.recipes import load_recipe

RECIPES = Path(__file__).parents[2] / "data_recipes"
SMALLER = {
    "ledgers.toml": ("num_documents = 2500", "num_documents = 100"),
    "python_code.toml": ('{ kind = "python_sources"', '{ kind = "python_sources", standard_library = false'),
}
OVERRIDES = [
    "tokenizer.vocab_size=512",
    "phases.1.tokens=40960",
    "phases.2.tokens=8192",
    "train.warmup_tokens=8192",
    "train.checkpoint_every_steps=5",
    "evaluate.heldout_bytes_per_corpus=8000",
    "evaluate.items_per_task=4",
]


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    (tmp_path / "corpora").mkdir()
    (tmp_path / "runs").mkdir()
    for name, (old, new) in SMALLER.items():
        text = (RECIPES / "corpora" / name).read_text()
        assert old in text
        (tmp_path / "corpora" / name).write_text(text.replace(old, new))
    file = tmp_path / "runs" / "quickstart_long.toml"
    file.write_text((RECIPES / "runs" / file.name).read_text())
    return file


@pytest.mark.slow
def test_the_context_grows_within_a_run_and_is_measured_by_position(recipe: Path, tmp_path: Path) -> None:
    loaded, store = load_recipe(recipe, OVERRIDES), tmp_path / "store"
    result = pipelines.run(loaded, store, "local")
    assert result.ok, result.failed | result.skipped
    short, long = (Checkpoint(checkpoint_folder(result.stages[f"train[{number}]"].path)).config for number in (1, 2))
    assert (short.max_positions, short.yarn_factor) == (256, 1.0)
    assert (long.max_positions, long.yarn_factor, long.yarn_original_positions) == (2048, 8.0, 256)
    before, after = ({*result.metrics[f"evaluate[{number}]"]} for number in (1, 2))
    by_position = {f"eval/bits_per_byte_by_position/ledgers/{end}" for end in (256, 512, 1024, 2048)}
    assert by_position < after
    assert not by_position & before
    for measure in ("bits_per_byte_streamed/ledgers", "long_passkey/accuracy/6144", "long_multi_key/accuracy/768"):
        assert f"eval/{measure}" in before & after
