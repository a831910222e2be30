"""Answers of the last checkpoint, right and wrong."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.report.html.markup import Html, element, foreign, section, table, text
from pipelines.report.summary.phases import PhaseSummary

SAMPLES_SHOWN = 4
"""Number of right answers, and of wrong ones."""


def answers_section(phase: PhaseSummary) -> Html:
    lead = f"Answers of the checkpoint of phase {phase.scores.phase}, right and wrong."
    answered = [sample for sample in phase.samples if sample["correct"] is not None]
    if not answered:
        return section("answers", "Answers", "This run asks no questions.")
    verdicts = Counter((sample["task"], sample["verdict"].partition(":")[0]) for sample in answered)
    counts = [[text(task), text(verdict), text(count)] for (task, verdict), count in sorted(verdicts.items())]
    right = _varied([sample for sample in answered if sample["correct"]])
    wrong = _varied([sample for sample in answered if not sample["correct"]])
    cards = [_sample(sample) for sample in (*right, *wrong)]
    return section(
        "answers",
        "Answers",
        lead,
        table(["task", "verdict", "answers"], counts, numbers=1),
        element("div", *cards, css="samples"),
    )


def _varied(samples: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """SAMPLES_SHOWN samples, of different tasks and measures as far as there are."""
    seen: Counter[tuple[str, ...]] = Counter()
    ranks = []
    for sample in samples:
        kind = sample["task"], *json.loads(sample["shares"])
        ranks.append(seen[kind])
        seen[kind] += 1
    return [samples[number] for number in sorted(range(len(samples)), key=ranks.__getitem__)[:SAMPLES_SHOWN]]


def _sample(sample: Mapping[str, Any]) -> Html:
    question = sample["prompt"].strip().splitlines()[-1:]
    shape = f" · {sample['task']}"
    verdict = element("p", element("b", text(sample["verdict"])), text(shape))
    return element(
        "div",
        verdict,
        foreign("pre", "\n".join(question)),
        element("small", text("model")),
        foreign("pre", sample["answer"] or "(nothing)"),
        element("small", text("gold")),
        foreign("pre", sample["gold"]),
        element("details", element("summary", text("the whole prompt")), foreign("pre", sample["prompt"])),
        css="sample right" if sample["correct"] else "sample",
    )
