"""The questions to a checkpoint and its answers, read from the evaluations of a store."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.artifact import Artifact
from infra.store import MANIFEST
from pipelines.artifacts.evaluation import SAMPLES_FILE, SECONDS
from pipelines.artifacts.formats.parquet import read_table
from pipelines.errors import OptionError

TRAIN = "train"
"""Name of the input of an evaluation that holds the checkpoint of a phase."""


@dataclass(frozen=True)
class Sample:
    """One item of a task with everything that came of it.

    Attributes:
        item_id: Of the task.
        verdict: "correct", or the error in a few words.
        prompt: The input of the model.
        gold: The right answer.
        responses: The output of the model, one line for each answer: a text with its tokens and the reason why it ends,
            or a choice with its log-probability in nats, behind its own context if that is not the prompt.
        answer: The answer that was scored.
        seconds: How long the answers took, None if that was not measured.
    """

    item_id: str
    verdict: str
    prompt: str
    gold: str
    responses: tuple[str, ...]
    answer: str
    seconds: float | None = None


def samples_of(artifacts: Sequence[Artifact], checkpoint: str, task: str, *, wrong: bool = False) -> list[Sample]:
    """The items of a task that a checkpoint was asked.

    Args:
        artifacts: Committed results of a store.
        checkpoint: Folder of an evaluation or of a checkpoint in the store, or the id, subject or key of either stage.
        task: Name of the task.
        wrong: Only items that were not answered right.

    Raises:
        OptionError: If the checkpoint was not evaluated, or not on this task.
    """
    evaluations = _evaluations(artifacts, checkpoint)
    if not evaluations:
        labels = sorted({each.manifest.subject for each in artifacts if each.manifest.name == "evaluate"})
        names = f"There are {', '.join(labels)}." if labels else "Run: arctic evaluate."
        raise OptionError(f"{checkpoint}: this store has no evaluation of it. {names}")
    tasks: dict[str, None] = {}
    for evaluation in evaluations:
        rows = read_table(evaluation.path / SAMPLES_FILE).to_pylist()
        tasks |= dict.fromkeys(row["task"] for row in rows)
        seconds = evaluation.manifest.provenance.get("measured", {}).get(SECONDS) or [None] * len(rows)
        timed = list(zip(rows, seconds, strict=True))
        if asked := [(row, each) for row, each in timed if row["task"] == task]:
            return [_sample(row, each) for row, each in asked if not (wrong and row["correct"])]
    raise OptionError(f"{task}: {checkpoint} was not asked this task. Name one of {', '.join(tasks)}.")


def _evaluations(artifacts: Sequence[Artifact], checkpoint: str) -> list[Artifact]:
    """Evaluations of a checkpoint, the latest first."""
    folder = Path(checkpoint).resolve()
    folders = {folder, folder.parent}
    names = {checkpoint} | {
        name
        for each in artifacts
        if each.path.resolve() in folders or checkpoint in (each.manifest.id, each.manifest.key)
        for name in (each.manifest.key, f"{each.path.parent.name}-{each.path.name}")
    }
    evaluations = [
        each
        for each in artifacts
        if each.manifest.name == "evaluate"
        and names & {each.manifest.key, each.manifest.subject, each.manifest.id, each.manifest.inputs.get(TRAIN, "")}
    ]
    return sorted(evaluations, key=lambda each: (each.path / MANIFEST).stat().st_mtime, reverse=True)


def _sample(row: dict[str, Any], seconds: float | None) -> Sample:
    responses = tuple(_line(response) for response in json.loads(row["responses"]))
    return Sample(row["item_id"], row["verdict"], row["prompt"], row["gold"], responses, row["answer"], seconds)


def _line(response: dict[str, Any]) -> str:
    if "text" in response:
        count = response.get("num_tokens")
        tokens = "" if count is None else f", {count:,} tokens"
        return f"({response['finish']}{tokens}) {response['text']}"
    greedy = ", greedy" if response["is_greedy"] else ""
    # Choices of some tasks differ in the text before them, which is not the item's prompt then.
    before = f"{response['context']} | " if "context" in response else ""
    return f"({response['log_probability']:.3f} nats{greedy}) {before}{response['continuation'].strip()}"
