"""The page, section by section: each is a small function from evaluations to HTML."""

from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.artifacts.comparison import Change
from pipelines.artifacts.evaluation import Score, score_text
from pipelines.report.evaluation.evaluations import Evaluations
from pipelines.report.figures.published import published_scores
from pipelines.report.figures.style import measure_name
from pipelines.report.html.markup import Html, element, figure, foreign, page, section, table, text
from pipelines.report.sections.models.scores import written

CAPTIONS = {
    "scores": "Scores of each checkpoint with 95 % intervals; dotted: guessing.",
    "tokens": "Scores over training tokens with 95 % intervals; dotted: guessing.",
    "retrieval": "Share of answers that the last checkpoint finds in long texts, by length and depth.",
    "flops": "Scores over training compute, 6 FLOPs for each token and active parameter, with 95 % intervals.",
}
ANSWERS_SHOWN = 12
"""Items of each kind, right for one checkpoint and wrong for the other."""
SHOWN_CHARACTERS = 4000
"""Of a prompt or an answer."""


def build(title: str, evaluations: Evaluations, svgs: Mapping[str, str]) -> str:
    """The whole page. `svgs`: the figures by name."""
    count = len(evaluations.scores)
    lead = f"{count} checkpoints on the same tasks." if count > 1 else "One checkpoint."
    header = element("header", element("h1", text(title)), element("p", text(lead), css="soft"))
    drawn = [figure(svg, CAPTIONS[name]) for name, svg in svgs.items()]
    footer = element("footer", text("This page needs no network and no script. Light or dark follows your system."))
    sections = [_scores(evaluations), *drawn, _published(evaluations), _ways(evaluations), _answers(evaluations)]
    return page(title, [header, element("main", *sections, footer)])


def _scores(evaluations: Evaluations) -> Html:
    """One row a measure, one column a checkpoint, and the mean over the last ones."""
    comparison, scores = evaluations.comparison, evaluations.scores
    has_mean = comparison.num_last > 1
    last = [f"mean of the last {comparison.num_last}"] if has_mean else []
    measures = list(dict.fromkeys(name for each in scores.values() for name in each.compared))
    rows = []
    for name in measures:
        cells = [_cell(evaluations, number, name) for number in range(len(scores))]
        mean = comparison.last_mean.get(name)
        rows.append([_named(name), *cells, *([written(mean) if mean else text("")] if has_mean else [])])
    rows.append(
        [text("training tokens"), *(text(f"{each.tokens:,}") for each in scores.values()), *map(text, [""] * has_mean)]
    )
    return section(
        "scores",
        "Scores",
        "95 % intervals, unless fewer than five units are independent. Lower is better for bits per byte, "
        "higher for everything else, from 0 to 1. A change since the previous checkpoint is paired item by item; its "
        "p-value is corrected by Holm's method for all changes on this page.",
        table(["measure", *scores, *last], rows, numbers=len(scores) + has_mean),
    )


def _named(measure: str) -> Html:
    kind, _, part = measure.partition("/")
    return Html(f"{text(measure_name(kind))} {element('code', text(part))}")


def _cell(evaluations: Evaluations, number: int, measure: str) -> Html:
    label = evaluations.comparison.order[number]
    score = evaluations.scores[label].scores.get(measure)
    if score is None:
        return text("not measured")
    if measure.partition("/")[0] in evaluations.comparison.asked_otherwise[number]:
        return written(score, [*_chance(score), "asked differently than before"])
    return written(score, [*_chance(score), *_change(evaluations.comparison.changes[number].get(measure))])


def _chance(score: Score) -> list[str]:
    return [f"chance {score_text(score.chance)}"] if score.chance else []


def _change(change: Change | None) -> list[str]:
    if change is None:
        return []
    verdict = "noise" if change.is_noise else "more than noise"
    return [f"{score_text(change.difference.value, sign=True)}: {verdict} (p = {change.adjusted_p:.2g})"]


def _published(evaluations: Evaluations) -> Html:
    """Scores of others on the benchmarks of this page; nothing if there are none."""
    tasks = {name.partition("/")[0] for scores in evaluations.scores.values() for name in scores.scores}
    rows = [
        [text(each.model), text(each.measure), text(score_text(each.value)), text(f"{each.source}, {each.date}")]
        for each in published_scores(tasks)
    ]
    if not rows:
        return Html("")
    return section(
        "published",
        "Published elsewhere",
        "Not measured here. These scores were published for the same benchmarks, asked by other programs with prompts "
        "of their own, so differences of a few points mean nothing.",
        table(["model", "measure", "score", "source"], rows),
    )


def _ways(evaluations: Evaluations) -> Html:
    """The protocol of each task, notes on its scores, and missing tasks."""
    rows = [
        [text(label), element("code", text(name)), text(kind), text(line)]
        for label, scores in evaluations.scores.items()
        for kind, lines in (("protocol", scores.protocols), ("note", scores.notes), ("not measured", scores.skipped))
        for name, line in lines.items()
    ]
    summary = element("summary", text("protocol of each task, notes, and missing tasks"))
    return element("details", summary, table(["checkpoint", "task", "", ""], rows))


def _answers(evaluations: Evaluations) -> Html:
    """Of two checkpoints, items that one got right and the other wrong, side by side; of one, both kinds."""
    labels = list(evaluations.last_two)
    if len(labels) < 2:
        (label,) = labels
        judged = [row for row in evaluations.last_two[label] if row["correct"] is not None]
        shown = [*_some(judged, right=True), *_some(judged, right=False)]
        cards = [_card(row, [(label, row)]) for row in shown]
        return section(
            "answers", "Answers", f"Right and wrong answers of {label}.", element("div", *cards, css="samples")
        )
    old, new = (_by_item(evaluations.last_two[label]) for label in labels)
    both = [key for key in new if key in old and old[key]["correct"] is not None and new[key]["correct"] is not None]
    flipped = [key for key in both if old[key]["correct"] != new[key]["correct"]]
    won = [key for key in flipped if new[key]["correct"]]
    lost = [key for key in flipped if old[key]["correct"]]
    shown_keys = [*_varied(won), *_varied(lost)]
    lead = (
        f"Of {len(both):,} items, {labels[1]} gets {len(won):,} right that {labels[0]} gets wrong, and {len(lost):,} "
        "the other way round. Some of each, of as many tasks as there are."
    )
    cards = [_card(new[key], [(labels[0], old[key]), (labels[1], new[key])]) for key in shown_keys]
    return section("answers", "Answers side by side", lead, element("div", *cards, css="samples"))


def _by_item(rows: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], Mapping[str, Any]]:
    return {(row["task"], row["item_id"]): row for row in rows}


def _some(rows: Sequence[Mapping[str, Any]], *, right: bool) -> list[Mapping[str, Any]]:
    by_item = _by_item([row for row in rows if row["correct"] is right])
    return [by_item[key] for key in _varied(list(by_item))]


def _varied(keys: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """ANSWERS_SHOWN of the items, of different tasks as far as there are."""
    seen: dict[str, int] = {}
    ranked = []
    for key in keys:
        seen[key[0]] = seen.get(key[0], 0) + 1
        ranked.append((seen[key[0]], key))
    return [key for _, key in sorted(ranked, key=lambda pair: pair[0])[:ANSWERS_SHOWN]]


def _card(row: Mapping[str, Any], answers: Sequence[tuple[str, Mapping[str, Any]]]) -> Html:
    question = row["prompt"].strip().splitlines()[-1:]
    parts = [element("p", text(f"{row['task']} · {row['item_id']}")), foreign("pre", _cut("\n".join(question)))]
    for label, answer in answers:
        verdict = f"{label}: {answer['verdict']}"
        parts += [
            element("small", element("b", text(verdict))),
            foreign("pre", _cut(answer["answer"]) or "(nothing)"),
        ]
    parts += [element("small", text("gold")), foreign("pre", _cut(row["gold"]))]
    whole = element("details", element("summary", text("the whole prompt")), foreign("pre", _cut(row["prompt"])))
    return element("div", *parts, whole, css="sample right" if answers[-1][1]["correct"] else "sample")


def _cut(value: str) -> str:
    return value if len(value) <= SHOWN_CHARACTERS else f"{value[:SHOWN_CHARACTERS]}…"
