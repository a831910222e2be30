"""The part of full fine-tuning's gain that LoRA recovers: the quickstart's fine-tune on SQL conversations.

python benchmarks/lora_gain.py [--quick]

One base is trained as in the quickstart. From it every way of fine-tuning reads the same conversations at several
learning rates. The loss of held-out conversations counts: one half of them chooses each way's rate, the other half
compares the ways. With `--quick` all runs are too short to compare.
"""

import sys
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harness import arguments, machine, report

from arctic_model.model import ArcticModel
from arctic_model.training.losses.cross_entropy import head_nll
from infra.artifact import Artifact
from infra.events import EventLog
from infra.runner import run_inline
from infra.store import Store
from pipelines import Recipe, load_recipe
from pipelines.artifacts.checkpoint import checkpoint_folder
from pipelines.artifacts.documents import HELDOUT
from pipelines.artifacts.sequence_order.token_rows import Rows, read_rows
from pipelines.artifacts.tokenization.tokens import TokenSequences
from pipelines.session import plan_graph

ROOT = Path(__file__).parents[1]
RECIPE = ROOT / "data_recipes" / "runs" / "quickstart.toml"
CORPUS = "sql_chat"
HELDOUT_FRACTION = 0.2
"""Of the conversations: the quickstart's own held-out part has too few answers for two halves."""
QUICK_SCHEMAS, QUICK_TOKENS = 100, 8192
ROWS_PER_PASS = 16
GOAL = 0.95


@dataclass(frozen=True)
class Way:
    """A way of fine-tuning, and the learning rates that it is tried at."""

    name: str
    rates: Sequence[float]
    lora: Mapping[str, Any] | None = None


FULL = Way("full", (0.006, 0.012))
MARKS = ["<|im_start|>", "<|im_end|>"]
OURS = Way("lora of rank 3 and chat marks", (0.005, 0.01), {"rank": 3, "trained_tokens": MARKS})
WAYS = (FULL, Way("lora of rank 3", (0.01,), {"rank": 3}), OURS)
"""As many as ten minutes have time for."""


@dataclass(frozen=True)
class Outcome:
    """Loss of both halves of the held-out conversations, and the number of trained parameters."""

    losses: tuple[float, float]
    parameters: float


def main() -> None:
    quick = arguments(__doc__.splitlines()[0]).quick
    ways = [replace(way, rates=way.rates[:1]) for way in WAYS] if quick else list(WAYS)
    print(machine("torch", "deepspeed"))
    with tempfile.TemporaryDirectory() as folder:
        artifacts = trained(recipe(ways, quick), Path(folder))
        halves = heldout_halves(artifacts[f"tokenize[{CORPUS}]"].path)
        (base, *_) = (stage for name, stage in reversed(artifacts.items()) if name.startswith("train["))
        before, total = measured(base, halves)
        outcomes = {
            (way.name, rate): outcome_of(artifacts[f"finetune[{subject(way, rate)}]"], halves, total)
            for way in ways
            for rate in way.rates
        }
    show(ways, before[1], total, outcomes)


def show(ways: Sequence[Way], before: float, total: int, outcomes: Mapping[tuple[str, float], Outcome]) -> None:
    """Print every run, each way's best rate by the first half of the held-out conversations in bold, and the result."""
    best = {way.name: min(way.rates, key=lambda rate: outcomes[way.name, rate].losses[0]) for way in ways}
    gains = {name: before - outcomes[name, rate].losses[1] for name, rate in best.items()}
    print(f"base {before:.4f}\n\n| way | parameters | rate | held-out loss | of the gain |\n|---|---|---|---|---|")
    for (name, rate), outcome in outcomes.items():
        gain, mark = (before - outcome.losses[1]) / gains[FULL.name], "**" if rate == best[name] else ""
        share = outcome.parameters / total
        print(f"| {name} | {share:.2%} | {mark}{rate:g}{mark} | {outcome.losses[1]:.4f} | {gain:.1%} |")
    shares = {name: gain / gains[FULL.name] for name, gain in gains.items() if name != FULL.name}
    ours = shares.pop(OURS.name)
    unit = "of full fine-tuning's gain in held-out loss"
    report("lora gain", ours, shares, unit, ours / GOAL, f"1: {GOAL:.0%} with 1 % of the parameters")


def trained(recipe: Recipe, folder: Path) -> Mapping[str, Artifact]:
    """The results of the recipe up to its fine-tunes."""
    with Store(folder / "store").writing() as store:
        planned = plan_graph(recipe.graph(), store, "finetune*").stages
        outcome = run_inline(planned, store, EventLog(store.root / "runs" / "gain"), [].append)
    if not outcome.ok:
        sys.exit(f"{outcome.failed}")
    return outcome.artifacts


def recipe(ways: Sequence[Way], quick: bool) -> Recipe:
    """The quickstart with one fine-tune for each way and rate; or a few steps of each on a few of its questions."""
    loaded = load_recipe(RECIPE, [f"corpora.{CORPUS}.source.heldout_fraction={HELDOUT_FRACTION}"])
    page = tomllib.loads(RECIPE.read_text(encoding="utf-8")) | {"export": []}
    pages = {name: corpus.model_dump(by_alias=True, exclude_unset=True) for name, (_, corpus) in loaded.corpora.items()}
    (instruct,) = page["finetune"]
    if quick:
        pages = {name: pages[name] for name in ("text_to_sql", CORPUS)}
        for each in pages.values():
            each["source"]["inputs"][0]["num_schemas"] = QUICK_SCHEMAS
        page["phases"] = [{"name": "enterprise", "tokens": QUICK_TOKENS, "weights": {"text_to_sql": 1.0}}]
        page["train"]["warmup_tokens"] = 0
        instruct |= {"tokens": QUICK_TOKENS, "weights": {CORPUS: 1.0}}
    page["finetune"] = [
        {**instruct, "name": subject(way, rate), "peak_lr": rate, **({"lora": way.lora} if way.lora else {})}
        for way in ways
        for rate in way.rates
    ]
    del page["corpora"]
    return Recipe.of(page, *pages.values(), folder=RECIPE.parent)


def subject(way: Way, rate: float) -> str:
    """Name of the fine-tune."""
    return f"{way.name.replace(', ', '-').replace(' ', '-')}-{rate:g}"


def heldout_halves(tokens: Path) -> tuple[list[Rows], list[Rows]]:
    """The sequences of held-out conversations, in passes: every other one."""
    heldout = TokenSequences(tokens, HELDOUT)
    even, odd = (passes(heldout, np.arange(first, len(heldout), 2)) for first in (0, 1))
    return even, odd


def passes(corpus: TokenSequences, numbers: np.ndarray) -> list[Rows]:
    parts = np.array_split(numbers, -(-len(numbers) // ROWS_PER_PASS))
    return [read_rows([corpus], np.zeros(len(part), dtype=int), part) for part in parts]


def outcome_of(finetune: Artifact, halves: tuple[list[Rows], list[Rows]], total: int) -> Outcome:
    losses, _ = measured(finetune, halves)
    return Outcome(losses, finetune.manifest.metrics.get("adapter_parameters", total))


@torch.no_grad()
def measured(artifact: Artifact, halves: tuple[list[Rows], list[Rows]]) -> tuple[tuple[float, float], int]:
    """The loss per trained token on both halves, and the number of the model's parameters."""
    model = ArcticModel.from_pretrained(checkpoint_folder(artifact.path))
    first, second = (loss(model, half) for half in halves)
    return (first, second), sum(parameter.numel() for parameter in model.parameters())


def loss(model: ArcticModel, half: Sequence[Rows]) -> float:
    nll = count = 0.0
    for rows in half:
        ids, positions, segments, targets = map(torch.from_numpy, rows)
        hidden = model.hidden_states(ids, positions, segments).hidden
        total, _ = head_nll(hidden.flatten(0, 1), model.lm_head.weight, targets.flatten())
        nll, count = nll + float(total), count + float((targets >= 0).sum())
    return nll / count


if __name__ == "__main__":
    main()
