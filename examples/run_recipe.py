"""Write a recipe in Python, run it, and read the results: from two corpora to an evaluated model.

    python examples/run_recipe.py [STORE]

The same call continues an interrupted run, and a second one reuses everything. Without STORE the example works in a
temporary folder. It takes some minutes on a laptop.
"""

import json
import sys
import tempfile
from pathlib import Path

import pipelines

KEEP_SHORT_TEXTS = {"min_words": 5, "min_stop_words": 0, "min_alpha_words_fraction": 0.0, "max_top_4gram_fraction": 1.0}
NOTES = {
    "name": "notes",
    "description": "A JSON Lines file of your own",
    "source": {"inputs": [{"kind": "jsonl", "paths": ["notes.jsonl"]}], "heldout_fraction": 0.1},
    "filter": KEEP_SHORT_TEXTS,
}
SQL = {
    "name": "sql",
    "description": "Generated schemas, questions and queries",
    "source": {
        "inputs": [
            {"kind": "text_to_sql", "num_schemas": 200, "num_heldout_schemas": 6, "pairs_per_schema": 4, "seed": 3}
        ]
    },
    "filter": KEEP_SHORT_TEXTS,
}
RUN = {
    "name": "written_in_python",
    "description": "A model of a few thousand parameters",
    "tokenizer": {"vocab_size": 384, "sample_bytes_per_corpus": 50_000},
    "tokenize": {"sequence_length": 64},
    "phases": [{"name": "one", "tokens": 10_240, "weights": {"notes": 0.3, "sql": 0.7}}],
    "model": {"preset": "tiny"},
    "train": {"global_batch_sequences": 8, "micro_batch_sequences": 4, "peak_lr": 0.003},
    "evaluate": {"heldout_bytes_per_corpus": 4_000},
}


def write_notes(folder: Path) -> None:
    """A file with a few hundred short documents."""
    subjects = ("river", "market", "garden", "harbour", "library")
    lines = [
        {"text": f"Note {number}: the {subjects[number % 5]} opens at {number % 12} and closes {number} minutes later."}
        for number in range(400)
    ]
    (folder / "notes.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def main(store: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write_notes(Path(folder))
        recipe = pipelines.Recipe.of(RUN, NOTES, SQL, folder=folder)
        result = pipelines.run(recipe, store)
    for stage, error in result.failed.items():
        print(f"{stage} failed: {error}")
    for stage in result.stages.values():
        print(f"{stage.status:<7} {stage.stage.id:<18} {stage.seconds:6.1f} s  {stage.path}")
    for name, value in sorted(result.metrics["evaluate[1]"].items()):
        if name.startswith("eval/bits_per_byte"):
            print(f"{name} {value:.3f}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(Path(temporary) / "store")
