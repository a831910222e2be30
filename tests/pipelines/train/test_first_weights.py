"""A run begins with the weights that its recipe names: the same numbers, checked before anything starts."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from arctic_model.checkpoint.reading import open_weights
from arctic_model.model import ArcticModel
from arctic_model.presets import preset
from data_recipes.schema import RunRecipe
from data_recipes.section import RecipeError
from infra.store.files import file_digest
from pipelines.artifacts.checkpoint import checkpoint_folder
from pipelines.fit.configs import model_config
from pipelines.tokenize.vocabulary import train_tokenizer
from pipelines.train import PinnedWeights, fingerprint
from pipelines.train.first_weights import digest
from tests.kit.files import digests
from tests.kit.interruption import interrupted_before

EVEN = {"balance_loss_coefficient": 0.0}
"""The load that a step balances against is no part of the weights."""
CONSTANT = {"warmup_tokens": 0}


def pinned(source: Path, *, with_optimizer: bool = False) -> PinnedWeights:
    return PinnedWeights(str(source), Path("/"), digest(checkpoint_folder(source)), with_optimizer)


def losses(out: Path) -> list[float]:
    result: list[float] = pq.read_table(out / "history.parquet")["loss"].to_pylist()
    return result


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_with_weights_and_moments_a_new_run_takes_the_steps_of_the_next_phase(
    workshops: Callable, optimizer: str
) -> None:
    """Without moments only its first loss is the same."""
    old, new, bare = (workshops(name) for name in ("old", "new", "bare"))
    settings = EVEN | {"optimizer": optimizer, "schedule": CONSTANT}
    first, _ = old.run("first", old.inputs(1), old.stage(**settings))
    second, _ = old.run("second", old.inputs(2, previous=first), old.stage(2, **settings))
    begun = {}
    for shop, with_optimizer in ((new, True), (bare, False)):
        initial = pinned(first, with_optimizer=with_optimizer)
        out, _ = shop.run("phase", shop.inputs(2), shop.stage(2, initial=initial, **settings))
        begun[with_optimizer] = losses(out)
    assert begun[True] == losses(second)
    assert begun[False][0] == losses(second)[0]
    assert begun[False] != losses(second)


def test_a_stopped_run_goes_on_from_its_own_checkpoint(workshops: Callable) -> None:
    source, once, stopped = (workshops(name) for name in ("source", "once", "stopped"))
    first, _ = source.run("first", source.inputs(1), source.stage())
    initial = pinned(first, with_optimizer=True)
    expected, _ = once.run("phase", once.inputs(1), once.stage(initial=initial))
    with interrupted_before(7):
        stopped.run("phase", stopped.inputs(1), stopped.stage(initial=initial))
    result, _ = stopped.run("phase", stopped.inputs(1), stopped.stage(initial=initial))
    assert digests(result) == digests(expected)


def test_a_dense_model_goes_on_as_a_mixture_from_its_own_loss(workshops: Callable) -> None:
    dense, mixed = workshops("dense"), workshops("mixed")
    model = {"num_experts": 0, "dense_size": 48}
    first, _ = dense.run("first", dense.inputs(1), dense.stage(model=model))
    second, _ = dense.run("second", dense.inputs(2, previous=first), dense.stage(2, model=model))
    experts = {"layer_shape": "moe", "expert_size": 48}
    out, _ = mixed.run("phase", mixed.inputs(2), mixed.stage(2, model=experts, initial=pinned(first)))
    assert losses(out)[0] == pytest.approx(losses(second)[0], rel=1e-6)
    assert open_weights(checkpoint_folder(out)).config == preset("tiny", experts)


@pytest.mark.slow
def test_two_workers_begin_with_the_same_weights(workshops: Callable) -> None:
    source, one, two = (workshops(name) for name in ("source", "one", "two"))
    first, _ = source.run("first", source.inputs(1), source.stage())
    initial = pinned(first, with_optimizer=True)
    pair = {"num_workers": 2, "cpus_per_worker": 0.5, "expert_parallel_size": 2}
    result = []
    for shop, section in ((one, {}), (two, pair)):
        out, _ = shop.run("phase", shop.inputs(1), shop.stage(initial=initial, **section))
        result.append(losses(out))
    assert result[1] == pytest.approx(result[0], rel=1e-5)


def test_weights_that_changed_since_they_were_pinned_are_refused(workshop) -> None:
    first, _ = workshop.run("first", workshop.inputs(1), workshop.stage())
    stage = workshop.stage(initial=pinned(first))
    index = checkpoint_folder(first) / "checkpoint.json"
    content = index.read_text()
    index.unlink()
    index.write_text(content + " ")
    with pytest.raises(ValueError, match="changed since the run was planned"):
        workshop.run("phase", workshop.inputs(1), stage)


def test_the_key_follows_the_weights_and_not_their_place(workshop, tmp_path: Path) -> None:
    source = PinnedWeights("a", tmp_path, "1" * 64, False)
    moved, changed = (PinnedWeights("b", tmp_path / "b", digest, False) for digest in ("1" * 64, "2" * 64))
    keys = [workshop.stage(initial=initial).key for initial in (source, moved, changed, None)]
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3


END = "<|end|>"


@pytest.fixture(scope="module")
def location(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tokenizer and, in "weights", a model with it."""
    folder = tmp_path_factory.mktemp("recipe")
    ArcticModel(preset("tiny"), seed=0).save_pretrained(folder / "weights")
    train_tokenizer(["some text to learn from"], 300).save(str(folder / "tokenizer.json"))
    shutil.copy(folder / "tokenizer.json", folder / "weights")
    return folder


def recipe(folder: Path, *, tokenizer: dict | None = None, optimizer: str = "muon", **model: object) -> RunRecipe:
    return RunRecipe.model_validate(
        {
            "name": "annealed",
            "description": "begins with weights",
            "corpora": ["notes.toml"],
            "tokenizer": tokenizer or {"vocab_size": 384, "path": "tokenizer.json", "end_token": END},
            "tokenize": {"sequence_length": 16},
            "phases": [{"name": "anneal", "tokens": 640, "weights": {"notes": 1.0}}],
            "model": {"preset": "tiny", "init_from": "weights"} | model,
            "train": {
                "global_batch_sequences": 4,
                "micro_batch_sequences": 2,
                "peak_lr": 0.003,
                "optimizer": optimizer,
            },
            "evaluate": {"heldout_bytes_per_corpus": 1000},
        }
    )


def fingerprint_of(location: Path, **fields: object) -> PinnedWeights | None:
    run = recipe(location, **fields)
    return fingerprint(run, model_config(run), location).initial


def test_a_checkpoint_is_pinned_by_its_hashes_and_drawn_weights_by_nothing(location: Path) -> None:
    result = fingerprint_of(location)
    assert result is not None
    assert result.params() == {"digest": file_digest(location / "weights" / "checkpoint.json"), "optimizer": False}
    assert fingerprint_of(location, init_from="") is None


def other_tokenizer(folder: Path) -> None:
    page = json.loads((folder / "tokenizer.json").read_text())
    names = list(page["model"]["vocab"])
    page["model"]["vocab"] |= {names[9]: 10, names[10]: 9}
    (folder / "other.json").write_text(json.dumps(page))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"overrides": {"num_layers": 3}},
            r"its model has num_layers = 2, the recipe's 3\. Set model\.overrides\.num_l",
        ),
        (
            {"overrides": {"tied_head": True}},
            r"has tied_head = false, the recipe's True\. Set model\.overrides\.tied_head",
        ),
        ({"overrides": {"learned_sinks": True}}, r"has learned_sinks = false, the recipe's True"),
        ({"overrides": {"dense_size": 64}}, r"its model has dense_size = 32, the recipe's 64"),
        ({"overrides": {"num_experts": 0}}, r"its model has num_experts = 4, the recipe's 0"),
        (
            {"tokenizer": {"vocab_size": 400, "path": "tokenizer.json", "end_token": END}},
            r"has 384 rows in its embedding, tokenizer\.vocab_size = 400\. Set vocab_size = 384",
        ),
        ({"overrides": {"vocab_size": 400}}, r"its model has vocab_size = 384, the recipe's 400"),
        ({"tokenizer": {"vocab_size": 384, "sample_bytes_per_corpus": 9}}, r"newly trained .*Set tokenizer\.path"),
        (
            {"tokenizer": {"vocab_size": 384, "path": "other.json", "end_token": END}},
            r"the token '.*' has another id in its tokenizer\.json than in tokenizer\.path = 'other\.json'",
        ),
        ({"init_from": "."}, r"config\.json: unreadable .*Name a folder with a whole model"),
    ],
)
def test_weights_that_do_not_fit_are_refused_before_anything_starts(
    location: Path, fields: dict[str, object], message: str
) -> None:
    other_tokenizer(location)
    with pytest.raises(RecipeError, match=r"model\.init_from = '.*': .*" + message):
        fingerprint_of(location, **fields)


def test_moments_must_be_there_and_of_the_same_optimizer(location: Path, workshop) -> None:
    with pytest.raises(RecipeError, match=r"model\.init_optimizer = true: .* has no optimizer state .*Remove it"):
        fingerprint_of(location, init_optimizer=True)
    trained, _ = workshop.run("first", workshop.inputs(1), workshop.stage())
    fields = {"init_from": str(trained), "init_optimizer": True}
    assert fingerprint_of(location, **fields)
    with pytest.raises(RecipeError, match=r"was not trained with train\.optimizer = 'adamw'"):
        fingerprint_of(location, **fields, optimizer="adamw")


def test_the_weights_are_those_of_the_folder_bit_for_bit(location: Path, workshop) -> None:
    """A learning rate of almost nothing leaves them as they are."""
    source = open_weights(location / "weights")
    initial = PinnedWeights("weights", location, digest(location / "weights"), False)
    stage = workshop.stage(initial=initial, peak_lr=1e-30, weight_decay=0.0, optimizer="adamw")
    out, _ = workshop.run("phase", workshop.inputs(1, steps=1), stage)
    for name, tensor in ArcticModel.from_pretrained(checkpoint_folder(out)).logical_tensors():
        assert torch.equal(tensor, source.read(name)), name
