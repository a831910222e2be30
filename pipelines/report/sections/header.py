"""The top of the page: the model, its data, its training, cost and scores, and warnings that users must see."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from pipelines.artifacts.evaluation import Score, interval_text, score_text
from pipelines.report.figures.style import measure_name
from pipelines.report.html.markup import Html, counted, element, fields, text
from pipelines.report.summary.run import RunSummary
from pipelines.report.summary.settings import Settings
from pipelines.report.summary.warnings import Warning_

BYTES = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "B"))
FLOPS = ((1e21, "ZFLOP"), (1e18, "EFLOP"), (1e15, "PFLOP"), (1e12, "TFLOP"), (1e9, "GFLOP"), (1.0, "FLOP"))
OPTIMIZERS = {"muon": "Muon", "adamw": "AdamW"}


def header(summary: RunSummary, sections: Sequence[str]) -> Html:
    """Title, facts, warnings and the links to `sections`."""
    tokens = sum(phase.plan.num_tokens for phase in summary.phases)
    documents = sum(corpus.kept.documents for corpus in summary.corpora)
    tuned = f" and {counted(len(summary.finetunes), 'fine-tune', 'fine-tunes')}" if summary.finetunes else ""
    sentence = (
        f"{documents:,} documents of {counted(len(summary.corpora), 'corpus', 'corpora')}, {tokens:,} training tokens "
        f"in {counted(len(summary.phases), 'phase', 'phases')}{tuned}, every checkpoint evaluated."
    )
    links = "".join(f'<a href="#{anchor(name)}">{escape(name.capitalize())}</a>' for name in sections)
    top = element(
        "header",
        element("h1", text(summary.title)),
        element("p", text(sentence), css="soft"),
        fields(_facts(summary)),
        _warnings(summary.warnings),
    )
    return Html(f'{top}<nav aria-label="Sections"><div tabindex="0">{links}</div></nav>')


def anchor(name: str) -> str:
    """The id of a section."""
    return name.replace(" ", "-")


def number_text(value: float) -> str:
    """A count of parameters or tokens in short form: "2.1M"."""
    return _scaled(value, ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")), "")


def _scaled(value: float, units: Sequence[tuple[float, str]], gap: str = " ") -> str:
    limit, unit = next(((limit, unit) for limit, unit in units if value >= limit), (1.0, ""))
    return f"{value / limit:.3g}{gap if unit else ''}{unit}"


def _facts(summary: RunSummary) -> Mapping[str, Html]:
    settings = summary.settings
    return dict(
        [
            ("Best score", _best(summary)),
            ("Model", _model(settings)),
            ("Data", _data(summary)),
            ("Tokens", _tokens(summary)),
            ("Batch", _batch(summary)),
            ("Learning rate", _learning_rate(settings)),
            ("Optimizer", _optimizer(settings.train)),
            *(([("Cost", _cost(settings))]) if settings.cost is not None else []),
            ("Compute", _compute(settings)),
            ("Code", _code(settings)),
        ]
    )


def _fact(value: str, *notes: str) -> Html:
    return Html(text(value) + "".join(element("small", text(note)) for note in notes if note))


def _best(summary: RunSummary) -> Html:
    """The first headline, and the phase or fine-tune that is best at it."""
    headlines = summary.phases[-1].headlines or summary.measures
    if not headlines:
        return _fact("not measured")
    measure = headlines[0]
    checkpoints = [(f"phase {phase.scores.phase}", phase.scores) for phase in summary.phases]
    checkpoints += [(f"fine-tune {tuned.after.phase}", tuned.after) for tuned in summary.finetunes]
    scored = [(scores.scores[measure], name) for name, scores in checkpoints if measure in scores.scores]
    is_less_better = measure.startswith("bits_per_byte")

    def rank(pair: tuple[Score, str]) -> float:
        return -pair[0].value if is_less_better else pair[0].value

    score, checkpoint = max(scored, key=rank)
    kind, _, part = measure.partition("/")
    name = " ".join([measure_name(kind), part.replace("_", " ")]).strip()
    return _fact(score_text(score.value), f"{name}, after {checkpoint}", f"95 % interval {interval_text(score)}")


def _model(settings: Settings) -> Html:
    model = settings.model
    if not settings.parameters:
        return _fact("not recorded")
    experts = (
        f"{model.get('num_experts')} experts, top {model.get('top_k')}" if model.get("num_experts") else "no experts"
    )
    shape = [
        f"{model[field]:,} {unit}"
        for field, unit in (("num_layers", "layers"), ("hidden_size", "wide"))
        if field in model
    ]
    return _fact(
        f"{number_text(settings.parameters)} parameters",
        f"{number_text(settings.active_parameters)} active for each token",
        ", ".join([*shape, experts]),
    )


def _data(summary: RunSummary) -> Html:
    documents = sum(corpus.kept.documents for corpus in summary.corpora)
    sourced = sum(corpus.sourced.documents for corpus in summary.corpora)
    size = sum(corpus.kept.text_bytes for corpus in summary.corpora)
    return _fact(
        f"{documents / max(sourced, 1):.0%} kept",
        f"{documents:,} of {sourced:,} documents",
        f"{_scaled(size, BYTES)} of text",
    )


def _tokens(summary: RunSummary) -> Html:
    plans = [phase.plan for phase in summary.phases]
    vocabulary = summary.settings.model.get("vocab_size")
    return _fact(
        number_text(sum(plan.num_tokens for plan in plans)),
        ", ".join(f"{plan.phase} {number_text(plan.num_tokens)}" for plan in plans),
        f"vocabulary of {vocabulary:,}" if vocabulary else "",
    )


def _batch(summary: RunSummary) -> Html:
    sequences = summary.settings.train.get("global_batch_sequences")
    length = summary.phases[-1].plan.sequence_length
    if not sequences:
        return _fact(f"sequences of {length:,} tokens")
    steps = summary.settings.steps
    return _fact(f"{sequences * length:,} tokens", f"{sequences:,} sequences of {length:,}", f"{steps:,} steps")


def _learning_rate(settings: Settings) -> Html:
    peak, schedule = settings.train.get("peak_lr"), settings.schedule
    if peak is None:
        return _fact("not recorded")
    return _fact(f"{peak:g}", *_schedule(schedule))


def _schedule(schedule: Mapping[str, Any]) -> Iterator[str]:
    if warmup := schedule.get("warmup_tokens"):
        yield f"warm-up over {number_text(warmup)} tokens"
    start, end = schedule.get("decay_start_tokens"), schedule.get("decay_end_tokens")
    if start is not None and end is not None:
        yield f"{schedule.get('decay', 'linear')} decay from {number_text(start)} to {number_text(end)}"


def _optimizer(train: Mapping[str, Any]) -> Html:
    name = str(train.get("optimizer", "not recorded"))
    parts = [
        f"{label} {train[field]:g}"
        for field, label in (("weight_decay", "weight decay"), ("gradient_clip", "clip"))
        if train.get(field) is not None
    ]
    return _fact(OPTIMIZERS.get(name, name), ", ".join(parts), str(train.get("dtype", "")))


def _cost(settings: Settings) -> Html:
    return _fact(f"{settings.cost:,.2f}", "training, in the currency of the recipe's price")


def _compute(settings: Settings) -> Html:
    return _fact(
        f"{settings.worker_hours:.3g} worker-hours",
        "of training, with waiting and lost steps",
        f"≈ {_scaled(settings.flops, FLOPS)} of arithmetic" if settings.flops else "",
    )


def _code(settings: Settings) -> Html:
    if not settings.commits:
        return _fact("not recorded")
    dirty = any(settings.commits.values())
    commits = Html(", ".join(element("code", text(commit[:10])) for commit in settings.commits))
    return Html(commits + (element("small", text("with changes that are in no commit")) if dirty else ""))


def _warnings(warnings: Sequence[Warning_]) -> Html:
    if not warnings:
        return Html("")
    items = (element("li", element("code", text(stage)), text(f"  {message}")) for stage, message in warnings)
    title = element("summary", text(counted(len(warnings), "warning", "warnings")))
    is_open = " open" if len(warnings) <= 3 else ""
    return Html(f'<details class="warnings"{is_open}>{title}{element("ul", *items)}</details>')
