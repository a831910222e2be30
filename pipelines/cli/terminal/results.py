"""The result of a stage in a few words, from the metrics that it returned."""

from collections.abc import Callable, Mapping

from pipelines.cli.terminal.units import bytes_text, count_text

Metrics = Mapping[str, float]


def result_text(stage: str, metrics: Metrics) -> str:
    """The result of the stage of this name; empty if `metrics` has no result.

    >>> result_text("filter", {"data/documents": 669, "data/documents_in": 708})
    '669 of 708 documents kept (94 %)'
    """
    describe = _RESULTS.get(stage)
    try:
        return describe(metrics) if describe else ""
    except KeyError:
        # A stage of the user's own may bear a built-in name in another graph.
        return ""


def _documents(metrics: Metrics) -> str:
    return f"{metrics['data/documents']:,.0f} documents, {bytes_text(metrics['data/bytes'])}"


def _labelled(metrics: Metrics) -> str:
    return f"{metrics['data/labelled']:,.0f} of {metrics['data/asked']:,.0f} documents labelled"


def _kept(metrics: Metrics) -> str:
    kept, before = metrics["data/documents"], metrics["data/documents_in"]
    share = f" ({100 * kept / before:.0f} %)" if before else ""
    return f"{kept:,.0f} of {before:,.0f} documents kept{share}"


def _mixed(metrics: Metrics) -> str:
    return f"{count_text(sum(value for name, value in metrics.items() if name.startswith('data/tokens_')))} tokens"


def _scored(metrics: Metrics) -> str:
    values = {name.removeprefix("eval/"): value for name, value in metrics.items() if name.startswith("eval/")}
    # Every measure has its number of items; entries without one count flaws.
    measures = [name for name in values if f"{name}.n" in values]
    return ", ".join(f"{name.replace('_', ' ').replace('/', ' ')} {values[name]:.3f}" for name in measures)


def _trained(metrics: Metrics) -> str:
    return f"loss {metrics['loss']:.3f} after {count_text(metrics['tokens'])} tokens"


_RESULTS: Mapping[str, Callable[[Metrics], str]] = {
    "source": _documents,
    "score": _documents,
    "annotate": _labelled,
    "filter": _kept,
    "dedup": _kept,
    "tokenizer": lambda metrics: f"{metrics['data/vocab_size']:,.0f} ids",
    "tokenize": lambda metrics: f"{count_text(metrics['data/train_tokens'])} tokens",
    "mix": _mixed,
    "train": _trained,
    "finetune": _trained,
    "evaluate": _scored,
}
