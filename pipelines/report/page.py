"""The page, section by section: each is a small function from summary to HTML."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from infra.artifact import Manifest
from pipelines.report import dag
from pipelines.report.contamination_section import contamination_section
from pipelines.report.data_section import data_section
from pipelines.report.duplicates import duplicates_section
from pipelines.report.exports_section import exports_section
from pipelines.report.figures import SMOOTHED_SHARE
from pipelines.report.finetune_section import finetune_section
from pipelines.report.markup import Html, element, figure, page, section, table, text
from pipelines.report.scores_section import scores_section
from pipelines.report.summary import PhaseSummary, RunSummary

SAMPLES_SHOWN = 4
"""Right answers, and as many wrong ones."""
QUARANTINED_SHOWN = 100
CAPTIONS = {
    "scores": "Headline scores by phase with 95 % intervals.",
    "compute": "Enterprise intelligence against training compute, with 95 % intervals; the cross is the released "
    "Arctic's, by the formula from the parts that its makers published.",
    "mixture": "Planned share of each corpus over the tokens of the run.",
    "loss": f"Training loss: every step, and a running mean over {SMOOTHED_SHARE:.0%} of the phase's steps.",
    "expert_load": "Share of the assignments of each expert times the number of experts, at the end of each phase.",
    "funnel": "Documents and bytes of text, in proportion to what was sourced.",
}


def build(summary: RunSummary, svgs: Mapping[str, str]) -> str:
    """The whole page. `svgs`: the figures by name."""
    drawn = {name: figure(svg, CAPTIONS[name]) for name, svg in svgs.items()}
    sections = {
        "scores": scores_section(summary, [drawn[name] for name in ("scores", "compute") if name in drawn]),
        **({"fine-tuning": finetune_section(summary.finetunes)} if summary.finetunes else {}),
        "curriculum": _curriculum(summary, drawn["mixture"]),
        "training": _training(summary, drawn["loss"], drawn.get("expert_load")),
        "data": data_section(summary.corpora, drawn["funnel"]),
        "duplicates": duplicates_section(summary.duplicates),
        "contamination": contamination_section(summary.phases[-1]),
        "answers": _answers(summary.phases[-1]),
        "exports": exports_section(summary.exports),
        "graph": _graph(summary.manifests),
        "set aside": _quarantined(summary.manifests),
        "provenance": _provenance(summary.manifests),
    }
    return page(
        f"Report: {summary.title}", [_header(summary, list(sections)), element("main", *sections.values(), _footer())]
    )


def _header(summary: RunSummary, sections: Sequence[str]) -> Html:
    tokens = sum(phase.plan.num_tokens for phase in summary.phases)
    documents = sum(corpus.kept.documents for corpus in summary.corpora)
    sentence = (
        f"{documents:,} documents of {_counted(len(summary.corpora), 'corpus', 'corpora')}, {tokens:,} training tokens "
        f"in {_counted(len(summary.phases), 'phase', 'phases')}, every checkpoint evaluated."
    )
    links = "".join(f'<a href="#{_anchor(name)}">{escape(name.capitalize())}</a>' for name in sections)
    return element(
        "header",
        element("h1", text(summary.title)),
        element("p", text(sentence), css="soft"),
        element("nav", links),
    )


def _footer() -> Html:
    return element("footer", text("This page needs no network and no script. Light or dark follows your system."))


def _curriculum(summary: RunSummary, drawing: Html) -> Html:
    names = [corpus.name for corpus in summary.corpora]
    rows = [
        [text(name), *(_budget(phase, name) for phase in summary.phases), text(f"{_last_epochs(summary, name):.2f}")]
        for name in names
    ]
    header = ["tokens", *(phase.plan.phase for phase in summary.phases), "passes over the corpus"]
    return section(
        "curriculum",
        "Curriculum",
        "What each phase reads. The order of every sequence is fixed by the plan, and the budgets are exact.",
        drawing,
        table(header, rows, numbers=len(header) - 1),
    )


def _budget(phase: PhaseSummary, corpus: str) -> Html:
    budgets = {share.corpus: share.budget for share in phase.plan.shares}
    budget = budgets.get(corpus, 0)
    share = element("small", text(f"{budget / phase.plan.num_sequences:.0%}"))
    return Html(f"{budget * phase.plan.sequence_length:,}{share}") if budget else text("0")


def _last_epochs(summary: RunSummary, corpus: str) -> float:
    return max((phase.epochs.get(corpus, 0.0) for phase in summary.phases), default=0.0)


def _training(summary: RunSummary, loss: Html, expert_load: Html | None) -> Html:
    header = ["phase", "steps", "first step", f"last {SMOOTHED_SHARE:.0%} of steps", "busiest expert, 1 = balanced"]
    rows = [
        [
            text(phase.plan.phase),
            text(f"{len(phase.history['step']):,}"),
            text(f"{phase.history['loss'][0]:.3f}"),
            text(f"{_final_loss(phase):.3f}"),
            text(f"{np.nanmax(phase.expert_load):.2f}" if expert_load else "no experts"),
        ]
        for phase in summary.phases
    ]
    lead = "Cross-entropy in nats per predicted token, and how evenly the router spreads its work."
    shown = [expert_load] if expert_load else []
    return section("training", "Training", lead, loss, table(header, rows, numbers=4), *shown)


def _final_loss(phase: PhaseSummary) -> float:
    loss = phase.history["loss"]
    return float(loss[-max(1, int(len(loss) * SMOOTHED_SHARE)) :].mean())


def _answers(phase: PhaseSummary) -> Html:
    lead = f"What the checkpoint of phase {phase.scores.phase} answered, right and wrong."
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
        element("pre", text("\n".join(question))),
        element("small", text("model")),
        element("pre", text(sample["answer"] or "(nothing)")),
        element("small", text("gold")),
        element("pre", text(sample["gold"])),
        element("details", element("summary", text("the whole prompt")), element("pre", text(sample["prompt"]))),
        css="sample right" if sample["correct"] else "sample",
    )


def _graph(manifests: Sequence[Manifest]) -> Html:
    seconds = sum(manifest.seconds for manifest in manifests)
    lead = (
        f"{len(manifests)} stages, each named by the digest of what it computes; {seconds:,.0f} seconds of work in "
        "all. Edges that another path implies are left out."
    )
    return section("graph", "Graph", lead, element("figure", element("div", Html(dag.draw(manifests)), css="wide")))


def _quarantined(manifests: Sequence[Manifest]) -> Html:
    records = [(manifest.id, record) for manifest in manifests for record in manifest.quarantined]
    lead = f"{_counted(len(records), 'record', 'records')} could not be read and went no further."
    if not records:
        return section(_anchor("set aside"), "Set aside", lead)
    rows = [
        [text(stage), text(record["origin"]), text(record["reason"])] for stage, record in records[:QUARANTINED_SHOWN]
    ]
    more = len(records) - len(rows)
    note = element("p", text(f"{more:,} more are in the manifests.")) if more else Html("")
    return section(_anchor("set aside"), "Set aside", lead, table(["stage", "origin", "reason"], rows), note)


def _provenance(manifests: Sequence[Manifest]) -> Html:
    values: dict[str, dict[str, None]] = {}
    for manifest in manifests:
        for name, value in _flat(manifest.provenance):
            values.setdefault(name, {})[str(value)] = None
    rows = [[text(name), element("code", text(", ".join(names)))] for name, names in sorted(values.items())]
    lead = "The software behind these results. Several values: the stages were built at different times."
    machines = {str(manifest.provenance.get("arithmetic")) for manifest in manifests}
    if len(machines) > 1:
        lead += (
            f" They were also built on {len(machines)} kinds of machines (rows arithmetic.*): weights, scores and "
            "other results in floating point have the same bytes on one kind only."
        )
    return section("provenance", "Provenance", lead, table(["what", "which"], rows))


def _flat(fields: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in fields.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _counted(count: int, one: str, many: str) -> str:
    return f"{count:,} {one if count == 1 else many}"


def _anchor(name: str) -> str:
    return name.replace(" ", "-")
