"""Fine-tunes in the graph of a run: the inputs of each, and the stages that they leave alone."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from arctic_model.presets import preset
from data_recipes import RecipeError
from infra.context import StageContext
from infra.stage import Stage
from pipelines import Recipe

SQL = {"kind": "text_to_sql", "num_schemas": 8, "num_heldout_schemas": 2, "pairs_per_schema": 2, "seed": 1}
CHAT = {"kind": "text_to_sql_chat", "num_schemas": 8, "pairs_per_schema": 2, "seed": 1}
RATED = {"kind": "chat", "paths": [str(Path(__file__).parent / "rated.jsonl")], "licence": "CC0-1.0"}
CORPORA = {"sql": SQL, "chat": CHAT, "rated": RATED}
RUN: Mapping[str, Any] = {
    "name": "tiny",
    "description": "",
    "tokenizer": {"vocab_size": 300, "sample_bytes_per_corpus": 1000},
    "tokenize": {"sequence_length": 64},
    "phases": [
        {"name": "first", "tokens": 1024, "weights": {"sql": 1.0}},
        {"name": "second", "tokens": 1024, "weights": {"sql": 1.0}},
    ],
    "model": {"preset": "tiny"},
    "train": {"global_batch_sequences": 4, "micro_batch_sequences": 4, "peak_lr": 0.001},
    "evaluate": {"heldout_bytes_per_corpus": 1000, "text_to_sql_questions": 4},
}
INSTRUCT = {"name": "instruct", "from": "second", "epochs": {"chat": 2.0}, "peak_lr": 0.0001}


def stages(*finetune: Mapping[str, Any], **changes: object) -> Mapping[str, Stage]:
    named = {"sql"}.union(*(corpora(section) for section in finetune))
    pages = [{"name": name, "description": "", "source": {"inputs": [CORPORA[name]]}} for name in sorted(named)]
    return Recipe.of({**RUN, "finetune": list(finetune), **changes}, *pages).graph().stages


def corpora(section: Mapping[str, Any]) -> set[str]:
    return {*section.get("epochs", {}), *section.get("weights", {})}


def test_a_fine_tune_starts_from_its_phase_and_is_compared_with_it() -> None:
    built = stages(INSTRUCT)

    assert {name: stage.id for name, stage in built["finetune[instruct]"].inputs.items()} == {
        "mix": "mix[instruct]",
        "tokens:chat": "tokenize[chat]",
        "base": "train[2]",
    }
    asked = {name: stage.id for name, stage in built["evaluate[instruct]"].inputs.items()}
    assert asked == {
        "train": "finetune[instruct]",
        "tokenizer": "tokenizer",
        # Bits per byte of the same documents, and the same questions.
        "tokens:sql": "tokenize[sql]",
        "source:sql": "source[sql]",
        "previous": "evaluate[2]",
    }


def test_a_fine_tune_of_a_fine_tune() -> None:
    again = {**INSTRUCT, "name": "again", "from": "instruct", "epochs": {}, "tokens": 512, "weights": {"chat": 1.0}}

    built = stages(INSTRUCT, again)

    assert built["finetune[again]"].inputs["base"].id == "finetune[instruct]"
    assert built["evaluate[again]"].inputs["previous"].id == "evaluate[instruct]"


def folder_run(weights: Path, tokenizer: Path) -> dict[str, Any]:
    """Fields of a run whose fine-tunes start from `weights`."""
    trained = {"vocab_size": 300, "path": str(tokenizer / "tokenizer.json"), "end_token": "<|end|>"}
    return {"tokenizer": trained, "model": {"preset": "tiny", "overrides": {"vocab_size": 300}}}


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A checkpoint with its tokenizer. Torch is imported when a test runs: collecting tests must not."""
    from arctic_model.model import ArcticModel
    from tests.kit.tokenizers import write_byte_tokenizer

    write_byte_tokenizer(tmp_path)
    ArcticModel(preset("tiny", {"vocab_size": 300}), seed=3).save_pretrained(tmp_path / "weights")
    return tmp_path / "weights"


def test_a_fine_tune_starts_from_a_folder_whose_weights_are_evaluated_as_well(weights: Path) -> None:
    section = {**INSTRUCT, "from": str(weights)}
    other = {**section, "name": "other"}

    built = stages(section, other, {**section, "name": "more", "from": "other"}, **folder_run(weights, weights.parent))

    assert built["finetune[instruct]"].inputs["base"].id == "weights[instruct.start]"
    assert built["evaluate[instruct]"].inputs["previous"].id == "evaluate[instruct.start]"
    assert built["evaluate[instruct.start]"].inputs["train"].id == "weights[instruct.start]"
    # One folder is read once, whichever fine-tune names it, and phases have nothing to do with it.
    assert built["finetune[other]"].inputs["base"].id == "weights[instruct.start]"
    assert built["evaluate[more]"].inputs["previous"].id == "evaluate[other]"
    assert not built["weights[instruct.start]"].inputs


def test_a_run_without_phases_trains_its_fine_tunes_alone(weights: Path) -> None:
    section = {**INSTRUCT, "from": str(weights)}
    fields = folder_run(weights, weights.parent)
    export = [{"name": "hf", "to": "huggingface", "checkpoint": "finetune[instruct]"}]

    built = stages(section, phases=[], export=export, **fields)

    assert not any(stage.name in ("train", "report") for stage in built.values())
    assert built["evaluate[instruct.start]"].inputs["tokens:sql"].id == "tokenize[sql]"
    assert built["export[hf]"].inputs["base"].id == "evaluate[instruct.start]"
    compared = {stage.id for stage in built["compare"].inputs.values()}
    assert compared == {"evaluate[instruct.start]", "evaluate[instruct]"}
    with_phases = stages(section, export=export, **fields)
    assert with_phases["finetune[instruct]"].key == built["finetune[instruct]"].key


def test_other_weights_in_the_folder_change_the_key_and_other_places_do_not(weights: Path) -> None:
    def key(folder: Path) -> str:
        return stages({**INSTRUCT, "from": str(folder)}, **folder_run(folder, weights.parent))["finetune[instruct]"].key

    from arctic_model.model import ArcticModel

    before = key(weights)

    moved = weights.rename(weights.with_name("moved"))
    assert key(moved) == before
    ArcticModel(preset("tiny", {"vocab_size": 300}), seed=4).save_pretrained(weights)
    assert key(weights) != before


def test_the_weights_of_a_folder_become_a_checkpoint_of_the_store(weights: Path, tmp_path: Path) -> None:
    """From a Hugging Face directory as well, value for value."""
    import torch

    from arctic_model.checkpoint.reading import Checkpoint
    from arctic_model.export.formats import FORMATS

    (tmp_path / "export").mkdir()
    FORMATS["huggingface"].write(Checkpoint(weights), weights.parent, tmp_path / "export", "float32")
    for source in (weights, tmp_path / "export"):
        stage = stages({**INSTRUCT, "from": str(source)}, **folder_run(source, weights.parent))[
            "weights[instruct.start]"
        ]
        out = tmp_path / f"out-{source.name}"
        out.mkdir()

        stage.work(StageContext(stage.id, out, tmp_path / "state", [].append), {})

        taken, provided = Checkpoint(out / "checkpoint").verify(), Checkpoint(weights)
        assert all(torch.equal(taken.read(name), provided.read(name)) for name in provided.names)
        assert taken.state.step == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"phases": [], "finetune": []}, "there is nothing to train. Add a phase, or a fine-tune from a folder"),
        ({"phases": [], "export": [{"name": "hf", "to": "huggingface"}]}, "there is no phase to export. Name a fine"),
        (
            {"model": {"preset": "tiny", "overrides": {"vocab_size": 320}}},
            r"finetune\.1\.from = .*Set model\.overrides\.vocab_size = 300",
        ),
        ({"tokenizer": RUN["tokenizer"]}, r"finetune\.1\.from = .*Set tokenizer\.path to that of the weights"),
        (
            {"model": {"preset": "tiny", "overrides": {"vocab_size": 300, "num_layers": 3}}},
            r"finetune\.1\.from = .*Set model\.overrides\.num_layers = ",
        ),
    ],
)
def test_weights_that_do_not_fit_are_refused(weights: Path, changes: Mapping[str, Any], message: str) -> None:
    fields = {**folder_run(weights, weights.parent), **changes}
    tuned = () if "finetune" in fields else ({**INSTRUCT, "from": str(weights)},)
    fields.pop("finetune", None)
    with pytest.raises(RecipeError, match=message):
        stages(*tuned, **fields)


def test_a_folder_that_is_not_there_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"finetune\.1\.from = '\./gone': .*Name a folder with a whole model"):
        stages({**INSTRUCT, "from": "./gone"})


def test_pairs_are_packed_beside_the_conversations_of_the_same_corpus() -> None:
    selected = {**INSTRUCT, "epochs": {"rated": 1.0}}
    preferred = {**INSTRUCT, "name": "preferred", "from": "instruct", "epochs": {"rated": 1.0}, "objective": "dpo"}

    built = stages(selected, preferred)

    assert built["finetune[instruct]"].inputs["tokens:rated"].id == "tokenize[rated]"
    assert built["finetune[preferred]"].inputs["tokens:rated"].id == "tokenize[rated.pairs]"
    assert built["finetune[preferred]"].inputs["base"].id == "finetune[instruct]"
    assert built["mix[preferred]"].inputs["tokens:rated"].id == "tokenize[rated.pairs]"


def test_conversations_without_two_answers_are_refused_for_dpo() -> None:
    with pytest.raises(RecipeError, match='objective = "dpo" reads pairs of answers'):
        stages({**INSTRUCT, "objective": "dpo"})


def test_settings_of_dpo_are_part_of_its_key_and_its_defaults_need_no_section() -> None:
    preferred = {**INSTRUCT, "epochs": {"rated": 1.0}, "objective": "dpo"}
    key = stages(preferred)["finetune[instruct]"].key

    assert stages({**preferred, "dpo": {"beta": 0.1}})["finetune[instruct]"].key == key
    assert stages({**preferred, "dpo": {"beta": 0.2}})["finetune[instruct]"].key != key


def test_documents_of_a_phase_are_learnt_beside_conversations() -> None:
    mixed = {**INSTRUCT, "epochs": {}, "tokens": 512, "weights": {"chat": 0.75, "sql": 0.25}}

    built = stages(mixed)

    assert built["finetune[instruct]"].inputs["tokens:sql"] is built["train[2]"].inputs["tokens:sql"]
    assert {name for name in built if name.startswith("tokenize[")} == {"tokenize[sql]", "tokenize[chat]"}


def test_documents_alone_are_no_fine_tune() -> None:
    with pytest.raises(RecipeError, match="no corpus of conversations is among them"):
        stages({**INSTRUCT, "epochs": {"sql": 1.0}})


def test_documents_are_no_pairs() -> None:
    with pytest.raises(RecipeError, match="kind text_to_sql, whose documents are no conversations"):
        stages({**INSTRUCT, "epochs": {"rated": 1.0, "sql": 1.0}, "objective": "dpo"})


def test_a_fine_tune_leaves_pretraining_as_it_is() -> None:
    before, after = stages(), stages(INSTRUCT)

    assert {name: after[name].key for name in before if name != "report"} == {
        name: stage.key for name, stage in before.items() if name != "report"
    }


def test_what_only_spreads_the_work_is_no_part_of_the_key() -> None:
    deviation = {**RUN["train"], "micro_batch_sequences": 2, "threads_per_worker": 2}

    assert stages(INSTRUCT)["finetune[instruct]"].key == stages(INSTRUCT, train=deviation)["finetune[instruct]"].key


@pytest.mark.parametrize("change", [{"peak_lr": 0.5}, {"epochs": {"chat": 1.0}}, {"from": "first"}], ids=str)
def test_what_changes_the_result_changes_the_key(change: Mapping[str, Any]) -> None:
    built, changed = stages(INSTRUCT), stages({**INSTRUCT, **change})

    assert built["finetune[instruct]"].key != changed["finetune[instruct]"].key
    assert built["train[2]"].key == changed["train[2]"].key


def test_a_lock_gives_the_same_keys_again(tmp_path: Path) -> None:
    from pipelines.recipes import load_recipe

    pages = [{"name": name, "description": "", "source": {"inputs": [CORPORA[name]]}} for name in ("sql", "chat")]
    graph = Recipe.of({**RUN, "finetune": [INSTRUCT]}, *pages, folder=tmp_path).graph()
    (tmp_path / "lock.json").write_text(graph.lock.to_json())

    again = load_recipe(tmp_path / "lock.json").graph()

    assert {name: stage.key for name, stage in again.stages.items()} == {
        name: stage.key for name, stage in graph.stages.items()
    }
