"""`arctic evaluate` and `arctic eval-data`: one checkpoint as a graph of one stage, so that it is resumed, reused and
tracked as every other."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from data_recipes import RecipeError
from data_recipes.lock import Lock
from infra.plan import plan
from infra.stage import Stage
from infra.store import MANIFEST, Artifact, Manifest, Store
from pipelines import evaluate
from pipelines.artifacts.checkpoint import CHECKPOINT, checkpoint_folder
from pipelines.artifacts.evaluation import Difference, Score, Scores, interval_text, read_differences, score_text
from pipelines.commands import execute
from pipelines.evaluate.data.fetch import fetch
from pipelines.evaluate.data.files import data_files
from pipelines.evaluate.sandbox import UNSAFE
from pipelines.evaluate.suites import Suite
from pipelines.graph import Graph


@dataclass(frozen=True)
class Order:
    """What the command line asks for."""

    checkpoint: Path
    suite: tuple[str, ...]
    root: Path
    limit: int | None = None
    against: Path | None = None
    tokenizer: Path | None = None
    actors: int = 1
    gpus_per_actor: float = 0.0
    unsafe: str = ""
    against_tokenizer: Path | None = None


def evaluate_checkpoint(order: Order, store_path: Path, address: str | None, terminal: Console) -> bool:
    """Score the checkpoint, and before it the one that it is compared with; True where all came out.

    Raises RecipeError where a checkpoint, a tokenizer, a task or the data is not there, or a number is none to use.
    """
    _check(order)
    suite = Suite.named(order.suite, order.root, order.limit, order.unsafe)
    if not order.root.is_dir():
        raise RecipeError(f"--root {order.root}: no such folder. Run: arctic eval-data fetch --root {order.root}")
    spread = evaluate.Spread(order.actors, 1.0, order.gpus_per_actor)
    before = _stage(order.against, order.against_tokenizer, suite, spread, None) if order.against else None
    stage = _stage(order.checkpoint, order.tokenizer, suite, spread, before)
    graph = Graph(
        f"evaluate-{stage.subject}", {each.id: each for each in (before, stage) if each}, Lock(None, {}, {}, {})
    )
    store = Store(store_path).open()
    with store.locked():
        store.remove_scratch()
        if not execute(graph, plan(store, list(graph.stages.values())), store, address, terminal):
            return False
    print_scores(store.path(stage), terminal)
    return True


def fetch_data(files: Sequence[str], root: Path, terminal: Console) -> None:
    """Bring `files`, all by default, and name those that the user must bring. Raises RecipeError or DataError."""
    unknown = [name for name in files if name not in data_files()]
    if unknown:
        raise RecipeError(f"{unknown[0]}: no file of the data root. There are {', '.join(data_files())}.")

    def tell(line: str) -> None:
        terminal.print(line, markup=False, highlight=False, soft_wrap=True)

    for item in fetch(root, files or None, tell):
        tell(f"{item.file}: bring it by hand: {item.origin} ({item.licence})")


def print_scores(folder: Path, terminal: Console) -> None:
    """Every score with its interval, beside chance and the change since the other checkpoint; how each task was asked
    and judged; what its scores should be read with, and what is missing."""
    scores, changes = Scores.read(folder), read_differences(folder)
    table = Table(box=None, pad_edge=False)
    for name in ("measure", "score", "95 % interval", "n", "chance", "centred", "change"):
        table.add_column(name, justify="left" if name == "measure" else "right", no_wrap=True)
    for name, score in sorted(scores.scores.items(), key=lambda item: ("/" in item[0], item[0])):
        table.add_row(*_row(name, score, _change(name, scores, changes)))
    terminal.print()
    terminal.print(table)
    terminal.print()
    for name, protocol in scores.protocols.items():
        terminal.print(f"{name}: {protocol}", style="dim", markup=False, soft_wrap=True)
    for name, note in scores.notes.items():
        terminal.print(f"NOTE {name}: {note}", style="yellow", markup=False, soft_wrap=True)
    for name, asked in scores.asked_before.items():
        line = f"ASKED DIFFERENTLY {name}: the other checkpoint, {asked}. No change can be told."
        terminal.print(line, style="yellow", markup=False, soft_wrap=True)
    for name, reason in scores.skipped.items():
        terminal.print(f"NOT MEASURED {name}: {reason}", style="yellow", markup=False, soft_wrap=True)
    terminal.print(f"\nAnswers: {folder}", markup=False, soft_wrap=True)


def _change(name: str, scores: Scores, changes: Mapping[str, Difference]) -> str:
    """Since the other checkpoint, where both were asked the same."""
    if name.partition("/")[0] in scores.asked_before:
        return "asked differently"
    change = changes.get(name)
    return f"{score_text(change.value, sign=True)}{' (noise)' if change.is_noise else ''}" if change else ""


def _row(name: str, score: Score, change: str) -> tuple[str, ...]:
    above = " (above)" if score.is_above_chance else ""
    chance = f"{score_text(score.chance)}{above}" if score.chance else ""
    centred = score_text(score.centred) if score.chance and score.centred is not None else ""
    return name, score_text(score.value), interval_text(score), f"{score.n:,}", chance, centred, change


def _check(order: Order) -> None:
    if order.limit is not None and order.limit < 1:
        raise RecipeError(f"--limit {order.limit}: it must be 1 or more. Leave it out for all items.")
    if order.against_tokenizer and not order.against:
        raise RecipeError("--against-tokenizer: there is no --against that it could belong to. Leave it out.")
    if order.actors < 1:
        raise RecipeError(f"--actors {order.actors}: it must be 1 or more.")
    if order.gpus_per_actor < 0:
        raise RecipeError(f"--gpus-per-actor {order.gpus_per_actor:g}: it must be 0, for the CPU, or more.")
    if order.unsafe not in ("", UNSAFE):
        raise RecipeError(f"--unsafe {order.unsafe!r}: say '{UNSAFE}', in these words, or leave it out.")


def _stage(place: Path, tokenizer: Path | None, suite: Suite, spread: evaluate.Spread, before: Stage | None) -> Stage:
    folder, made_with = _resolve(place)
    label = re.sub(r"[^A-Za-z0-9_.-]+", "-", _label(place.resolve())).strip("-.")
    try:
        return evaluate.checkpoint_stage(label, folder, tokenizer, suite, spread, before, made_with)
    except (ValueError, OSError) as error:
        named = str(error).startswith((str(place), str(folder)))
        raise RecipeError(str(error) if named else f"{place}: {error}") from error


def _label(place: Path) -> str:
    """The name that people know a checkpoint by: of its train stage, or of its folder."""
    artifact = place.parent if place.name == CHECKPOINT and (place.parent / MANIFEST).is_file() else place
    return f"{artifact.parent.name}-{artifact.name}" if (artifact / MANIFEST).is_file() else artifact.name


def _resolve(place: Path) -> tuple[Path, Path | None]:
    """The checkpoint's folder, and that of its tokenizer where a store says which it was trained with."""
    place = place.resolve()
    if not place.is_dir():
        raise RecipeError(f"{place}: no such folder. Give the folder of a checkpoint.")
    artifact = place.parent if place.name == CHECKPOINT else place
    if not (artifact / MANIFEST).is_file():
        return place, None
    manifest = Store(artifact.parents[2]).read(artifact).manifest
    if manifest.name != "train":
        raise RecipeError(f"{place}: the result of {manifest.id}, which is no checkpoint. Give one of a train stage.")
    made = {each.manifest.key: each for each in Store(artifact.parents[2]).artifacts()}
    return checkpoint_folder(artifact), _tokenizer(manifest, made)


def _tokenizer(train: Manifest, made: dict[str, Artifact]) -> Path | None:
    """The tokenizer of the tokens that `train` read, where the store still has it."""
    tokens = [made[key] for name, key in train.inputs.items() if name.startswith("tokens:") and key in made]
    found = [made[key] for each in tokens for key in each.manifest.inputs.values() if key in made]
    return next((each.path for each in found if each.manifest.name == "tokenizer"), None)
