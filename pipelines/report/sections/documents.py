"""The documents of each corpus: their scores with the limits, some that were kept, their languages and licences."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from infra.host.masking import masked
from pipelines.report.figures import histograms
from pipelines.report.html.markup import Html, bar, element, folded, foreign, table, text
from pipelines.report.summary.corpus import CorpusSummary, Sample
from pipelines.report.summary.histograms import Histogram

HISTOGRAMS_SHOWN = 6
"""Of a corpus, the rules that dropped most documents."""
Counted = Callable[[CorpusSummary], tuple[Mapping[str, int], Mapping[str, int]]]
"""Sourced and kept documents of a corpus by some value."""
VALUES_SHOWN = 6
"""Languages and licences of a corpus, the most common ones."""


def scores_and_limits(corpora: Sequence[CorpusSummary]) -> Html:
    """Small histograms, those of one corpus together."""
    lead = (
        "Documents by score, on a logarithmic scale, for the rules that dropped most. The line is the limit: documents "
        "on its red side are dropped, by this rule or by one before it, unless the rule is about prose and the "
        "document is code."
    )
    parts = [element("h3", text("Scores and limits")), element("p", text(lead), css="soft")]
    for corpus in corpora:
        shown = corpus.histograms.most_dropping(HISTOGRAMS_SHOWN)
        if shown:
            drawn = [_histogram(histogram) for histogram in shown]
            parts.append(element("p", element("b", text(corpus.name))))
            parts.append(element("div", *drawn, css="figures small"))
    return Html("".join(parts))


def _histogram(histogram: Histogram) -> Html:
    unmeasured = f"; {histogram.unmeasured:,} cannot have it" if histogram.unmeasured else ""
    caption = (
        f"{histogram.limit.score.replace('_', ' ')}: {histogram.dropped:,} dropped by "
        f"{histogram.limit.field} = {histogram.threshold:g}{unmeasured}"
    )
    return element("figure", histograms.draw(histogram), element("figcaption", text(caption)))


def kept_samples(corpora: Sequence[CorpusSummary]) -> Html:
    """The beginnings of some documents that are trained on, folded by corpus."""
    lead = "Those with the smallest ids, which are as good as drawn at random; as training reads them."
    parts = [element("h3", text("Documents that were kept")), element("p", text(lead), css="soft")]
    parts += [
        folded(text(f"{corpus.name}: {len(corpus.kept_samples)} of {corpus.kept.documents:,}"), *_samples(corpus))
        for corpus in corpora
        if corpus.kept_samples
    ]
    return Html("".join(parts))


def _samples(corpus: CorpusSummary) -> Iterator[Html]:
    for sample in corpus.kept_samples:
        yield sample_text(sample)


def folded_samples(name: str, samples: Sequence[Sample]) -> Html:
    """Samples behind a line that names and counts them."""
    count = "1 sample" if len(samples) == 1 else f"{len(samples)} samples"
    return folded(text(f"{name} ({count})"), *(sample_text(sample) for sample in samples))


def sample_text(sample: Sample) -> Html:
    """The beginning of a document under its id and address."""
    origin = element("small", element("code", text(sample.doc_id)), text(f" {masked(sample.url)}"))
    return Html(f"{origin}{foreign('pre', sample.beginning)}")


def languages_and_licences(corpora: Sequence[CorpusSummary]) -> Html:
    """Number of documents of each that were sourced and kept."""
    parts = [element("h3", text("Languages")), _counts("language", corpora, _languages)]
    if any(name for corpus in corpora for name in corpus.licences):
        parts += [element("h3", text("Licences")), _counts("licence", corpora, _licences)]
    return Html("".join(parts))


def _languages(corpus: CorpusSummary) -> tuple[Mapping[str, int], Mapping[str, int]]:
    return corpus.languages, corpus.kept_languages


def _licences(corpus: CorpusSummary) -> tuple[Mapping[str, int], Mapping[str, int]]:
    return corpus.licences, corpus.kept_licences


def _counts(title: str, corpora: Sequence[CorpusSummary], counted: Counted) -> Html:
    rows = []
    for corpus in corpora:
        before, after = counted(corpus)
        ranked = most(before)
        listed = [(name or "none known", count, after.get(name, 0)) for name, count in ranked[:VALUES_SHOWN]]
        if rest := [name for name, _ in ranked[VALUES_SHOWN:]]:
            num_sourced, num_kept = (sum(counts.get(name, 0) for name in rest) for counts in (before, after))
            listed.append((f"{len(rest)} others", num_sourced, num_kept))
        for name, count, num_kept in listed:
            share = count / max(corpus.sourced.documents, 1)
            numbers = (text(f"{count:,}"), text(f"{num_kept:,}"))
            rows.append([text(corpus.name), text(name), *numbers, bar(share, f"{share:.1%}")])
    return table(["corpus", title, "sourced", "kept", "of the corpus"], named_once(rows), numbers=3)


def named_once(rows: Sequence[Sequence[Html]]) -> list[Sequence[Html]]:
    """`rows` with the name in the first column shown only when it changes; a row that is alone shows it too."""
    names = [row[0] for row in rows]
    return [
        row if number == 0 or names[number - 1] != row[0] else [element("span", row[0], css="again"), *row[1:]]
        for number, row in enumerate(rows)
    ]


def most(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    """Largest counts first, names in order among equals."""
    return sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
