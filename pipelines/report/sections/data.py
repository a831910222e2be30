"""The part of the page on data: the funnel, the reasons for dropping documents, and their sources."""

from collections import Counter
from collections.abc import Iterator, Sequence

from pipelines.report.html.markup import Html, bar, element, section, table, text
from pipelines.report.sections.documents import (
    folded_samples,
    kept_samples,
    languages_and_licences,
    most,
    named_once,
    scores_and_limits,
)
from pipelines.report.summary.corpus import CorpusSummary
from pipelines.report.summary.extraction import LOW_SHARE

DOMAINS_SHOWN = 20
SIZE_CLASSES = ((1, "alone"), (2, "2"), (4, "3 to 4"), (9, "5 to 9"), (10**9, "10 and more"))
"""Largest size of each class of clusters, with its name."""
TOKEN_COLUMNS = {
    "training tokens": ("data/train_tokens", ",.0f"),
    "held-out tokens": ("data/heldout_tokens", ",.0f"),
    "bytes per token": ("data/bytes_per_token", ".2f"),
    "rows filled": ("data/packed_fraction", ".2%"),
}


def data_section(corpora: Sequence[CorpusSummary]) -> Html:
    """The section as HTML for the page."""
    return section(
        "data",
        "Data",
        "From sourced documents to training data. Text is never rewritten: each drop is a decision with its reason.",
        _funnel(corpora),
        _passed_over(corpora),
        _kept_shares(corpora),
        _low_domains(corpora),
        _chosen_again(corpora),
        element("h3", text("Why documents were dropped")),
        *(element("p", text(corpus.loss_note)) for corpus in corpora if corpus.loss_note),
        _drop_reasons(corpora),
        scores_and_limits(corpora),
        kept_samples(corpora),
        languages_and_licences(corpora),
        _domains(corpora),
        element("h3", text("Clusters of duplicates by size")),
        _clusters(corpora),
        element("h3", text("Packed tokens")),
        _tokens(corpora),
    )


def _funnel(corpora: Sequence[CorpusSummary]) -> Html:
    header = ["corpus", "state", "documents", "bytes of text", "tokens", "kept"]
    note = (
        "Tokens of kept documents are counted; those marked with ≈ are estimated from the bytes of text, by the "
        "bytes per token of the corpus' training documents. The bars show bytes."
    )
    rows = [row for corpus in corpora for row in _funnel_rows(corpus)]
    return Html(f"{table(header, named_once(rows), numbers=4)}{element('p', text(note), css='soft')}")


def _funnel_rows(corpus: CorpusSummary) -> Iterator[list[Html]]:
    for step, count in corpus.steps:
        exact = count is corpus.kept
        tokens = f"{corpus.num_tokens:,}" if exact else f"≈ {corpus.estimated_tokens(count):,}"
        share = count.text_bytes / max(corpus.sourced.text_bytes, 1)
        cells = (corpus.name, step, f"{count.documents:,}", f"{count.text_bytes:,}", tokens)
        yield [*(text(cell) for cell in cells), bar(share, f"{share:.1%}")]


def _passed_over(corpora: Sequence[CorpusSummary]) -> Html:
    rows = [
        [text(corpus.name), text(fate), text(reason.replace("_", " ")), text(f"{count:,}")]
        for corpus in corpora
        for fate, counts in (("passed over", corpus.passed_over), ("set aside", corpus.set_aside))
        for reason, count in most(counts)
    ]
    if not rows:
        return Html("")
    title = element("h3", text("Records of the sources that gave no document"))
    return Html(f"{title}{table(['corpus', 'fate', 'reason', 'records'], named_once(rows), numbers=1)}")


def _kept_shares(corpora: Sequence[CorpusSummary]) -> Html:
    rows = [
        [text(value) for value in (corpus.name, page_type or "-", engine, f"{share.pages:,}", f"{share.mean:.1%}")]
        for corpus in corpora
        for (page_type, engine), share in sorted(
            corpus.extraction.by_kind.items(), key=lambda item: (-item[1].pages, item[0])
        )
    ]
    if not rows:
        return Html("")
    title = element("h3", text("Text that was taken out of pages"))
    header = ["corpus", "type of page", "engine", "pages", "of the visible text"]
    return Html(f"{title}{table(header, named_once(rows), numbers=2)}")


def _low_domains(corpora: Sequence[CorpusSummary]) -> Html:
    rows = [
        [text(value) for value in (corpus.name, domain, f"{share.pages:,}", f"{share.mean:.1%}")]
        for corpus in corpora
        for domain, share in corpus.extraction.low_domains[:DOMAINS_SHOWN]
    ]
    if not rows:
        return Html("")
    title = element("h3", text(f"Domains of whose visible text less than {LOW_SHARE:.0%} was kept"))
    header = ["corpus", "domain", "pages", "of the visible text"]
    return Html(f"{title}{table(header, named_once(rows), numbers=2)}")


def _chosen_again(corpora: Sequence[CorpusSummary]) -> Html:
    rows = [
        [text(value) for value in (corpus.name, domain, f"{count:,}", f"{count / corpus.domains[domain]:.1%}")]
        for corpus in corpora
        for domain, count in most(corpus.chosen_again)[:DOMAINS_SHOWN]
    ]
    if not rows:
        return Html("")
    title = element("h3", text("Pages whose main part held little of their prose"))
    lead = (
        f"Another text was chosen for each of them. Read some pages of these domains, the {DOMAINS_SHOWN} with most of "
        "them in each corpus, before you train on them."
    )
    header = ["corpus", "domain", "pages", "of the domain"]
    return Html(f"{title}{element('p', text(lead), css='soft')}{table(header, named_once(rows), numbers=2)}")


def _drop_reasons(corpora: Sequence[CorpusSummary]) -> Html:
    rows = [
        [
            text(corpus.name),
            text(stage),
            folded_samples(reason.replace("_", " "), corpus.samples[stage, reason]),
            text(f"{count.documents:,}"),
            bar(count.documents / corpus.sourced.documents, f"{count.documents / corpus.sourced.documents:.1%}"),
        ]
        for corpus in corpora
        for (stage, reason), count in sorted(corpus.dropped.items(), key=lambda item: (-item[1].documents, item[0]))
    ]
    return table(["corpus", "stage", "reason", "documents", "of all"], named_once(rows), numbers=2)


def _domains(corpora: Sequence[CorpusSummary]) -> Html:
    rows = [
        [
            text(corpus.name),
            text(domain),
            text(f"{count:,}"),
            text(f"{corpus.kept_domains[domain]:,}"),
            text(f"{corpus.kept_domains[domain] / count:.1%}"),
            bar(count / corpus.sourced.documents, f"{count / corpus.sourced.documents:.1%}"),
        ]
        for corpus in corpora
        for domain, count in most(corpus.domains)[:DOMAINS_SHOWN]
    ]
    if not rows:
        return Html("")
    header = ["corpus", "domain", "sourced", "kept", "kept of sourced", "of the corpus"]
    totals = ", ".join(f"{corpus.name} {len(corpus.domains):,}" for corpus in corpora if corpus.domains)
    lead = f"Documents by domain, the {DOMAINS_SHOWN} largest of each corpus. All domains: {totals}."
    title = element("h3", text("Domains"))
    return Html(f"{title}{element('p', text(lead), css='soft')}{table(header, named_once(rows), numbers=4)}")


def _clusters(corpora: Sequence[CorpusSummary]) -> Html:
    rows = []
    for corpus in corpora:
        classes: Counter[str] = Counter()
        for size, count in corpus.clusters.items():
            classes[next(name for largest, name in SIZE_CLASSES if size <= largest)] += count
        largest_cluster = max(corpus.clusters, default=0)
        rows.append(
            [text(value) for value in (corpus.name, *(classes[name] for _, name in SIZE_CLASSES), largest_cluster)]
        )
    return table(["corpus", *(name for _, name in SIZE_CLASSES), "largest"], rows, numbers=len(SIZE_CLASSES) + 1)


def _tokens(corpora: Sequence[CorpusSummary]) -> Html:
    rows = [
        [text(corpus.name), *(text(f"{corpus.tokens[key]:{style}}") for key, style in TOKEN_COLUMNS.values())]
        for corpus in corpora
    ]
    return table(["corpus", *TOKEN_COLUMNS], rows, numbers=len(TOKEN_COLUMNS))
