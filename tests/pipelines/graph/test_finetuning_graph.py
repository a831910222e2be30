"""Fine-tunes in the graph of a run: what each reads, and what they leave alone."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from infra.stage import Stage
from pipelines import Recipe

SQL = {"kind": "text_to_sql", "num_schemas": 8, "num_heldout_schemas": 2, "pairs_per_schema": 2, "seed": 1}
CHAT = {"kind": "text_to_sql_chat", "num_schemas": 8, "pairs_per_schema": 2, "seed": 1}
RUN = {
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


def stages(*finetune: Mapping[str, object], **changes: object) -> Mapping[str, Stage]:
    corpora = [{"name": name, "description": "", "source": {"inputs": [page]}} for name, page in CORPORA.items()]
    used = corpora if finetune else corpora[:1]
    return Recipe.of({**RUN, "finetune": list(finetune), **changes}, *used).graph().stages


CORPORA = {"sql": SQL, "chat": CHAT}


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


def test_a_fine_tune_leaves_pretraining_as_it_is() -> None:
    before, after = stages(), stages(INSTRUCT)

    assert {name: after[name].key for name in before if name != "report"} == {
        name: stage.key for name, stage in before.items() if name != "report"
    }


def test_what_only_spreads_the_work_is_no_part_of_the_key() -> None:
    spread = {**RUN["train"], "micro_batch_sequences": 2, "threads_per_worker": 2}

    assert stages(INSTRUCT)["finetune[instruct]"].key == stages(INSTRUCT, train=spread)["finetune[instruct]"].key


@pytest.mark.parametrize("change", [{"peak_lr": 0.5}, {"epochs": {"chat": 1.0}}, {"from": "first"}], ids=str)
def test_what_changes_the_result_changes_the_key(change: Mapping[str, object]) -> None:
    built, changed = stages(INSTRUCT), stages({**INSTRUCT, **change})

    assert built["finetune[instruct]"].key != changed["finetune[instruct]"].key
    assert built["train[2]"].key == changed["train[2]"].key


def test_a_lock_gives_the_same_keys_again(tmp_path: Path) -> None:
    from pipelines.recipes import load_recipe

    corpora = [{"name": name, "description": "", "source": {"inputs": [page]}} for name, page in CORPORA.items()]
    graph = Recipe.of({**RUN, "finetune": [INSTRUCT]}, *corpora, folder=tmp_path).graph()
    (tmp_path / "lock.json").write_text(graph.lock.to_json())

    again = load_recipe(tmp_path / "lock.json").graph()

    assert {name: stage.key for name, stage in again.stages.items()} == {
        name: stage.key for name, stage in graph.stages.items()
    }
