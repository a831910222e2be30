"""From WARC to filtered text on one core: source (cascade), score and filter, against datatrove's pipeline of the same
rules and trafilatura's extraction alone, in MB/s of raw HTML on real pages.

datatrove splits words with spaCy and reads WARC with warcio, which are not installed: its splitters are replaced by
splitting at blanks and at full stops, and both peers get their pages read and decoded. Both is in their favour.
"""

import logging
import multiprocessing
import shutil
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from harness import arguments, interleave, machine, one_core, report, times_as_fast

from arctic_model.peak_memory import peak_resident_bytes
from data_recipes import load_corpus
from infra.artifact import Artifact
from infra.runner import build
from infra.stage import Stage
from infra.store import Store
from pipelines import filter as filter_
from pipelines import score, source
from pipelines.artifacts.documents import shard_paths
from pipelines.score.from_recipe import load_scorer
from tests.kit.real_data import REAL_DATA

REPOSITORY = Path(__file__).parents[1]
WEB = REAL_DATA / "web"
RECIPE = REPOSITORY / "data_recipes" / "corpora" / "web.toml"
GOAL = (
    "HTML to filtered text at 20 MB/s where resiliparse alone gives 57: >= 0.35 of its speed; "
    "worker's peak memory < 1.5 GB"
)

spent: dict[str, float] = {}
"""CPU seconds by stage in the last repeat: the first one compiles."""


def ours(files: list[Path], extractor: str) -> dict[str, float]:
    """The three stages, one after the other, in this process; metrics of all."""
    folder = Path(tempfile.mkdtemp())
    try:
        paths = [str(file) for file in files]
        recipe = load_corpus(RECIPE, [f"source.inputs.1.paths={paths}", f'source.extractor="{extractor}"'])
        home = RECIPE.parent
        sourced = source.stage("web", recipe.source, source.fingerprint(recipe.source, home), home)
        scored = score.stage("web", recipe.score, score.fingerprint(recipe.score, home), home, sourced)
        inputs = filter_.FilterInputs(sourced, scored)
        filtered = filter_.stage("web", recipe.filter, filter_.fingerprint(recipe.filter, home), home, inputs)
        made: dict[str, Artifact] = {}
        metrics: dict[str, float] = {}
        for stage in (sourced, scored, filtered):
            started = time.process_time()
            metrics |= {f"{stage.name} {name}": value for name, value in run(stage, folder, made).items()}
            spent[f"{extractor} {stage.name}"] = time.process_time() - started
        return metrics
    finally:
        shutil.rmtree(folder)


def run(stage: Stage, folder: Path, made: dict[str, Artifact]) -> dict[str, float]:
    """One attempt of `stage`, its artifact added to `made`."""
    made[stage.name] = build(stage, Store(folder), lambda event: None, None, *(made[name] for name in stage.inputs))
    return dict(made[stage.name].manifest.metrics)


def score_texts(files: list[Path], texts: list[tuple[str, str]]) -> None:
    """Score alone, without files: the cost of one text."""
    recipe = load_corpus(RECIPE, [f"source.inputs.1.paths={[str(file) for file in files]}"])
    scorer = load_scorer(recipe.score, score.fingerprint(recipe.score, RECIPE.parent), RECIPE.parent)
    for url, text in texts:
        scorer.score(text, url, None)


def trafilatura_alone(pages: list[str]) -> None:
    import trafilatura

    for html in pages:
        trafilatura.extract(html, include_comments=False)


def resiliparse_alone(pages: list[str]) -> None:
    """Its fast mode, page by page: how fast HTML can be turned into text on this machine."""
    from resiliparse.extract.html2text import extract_plain_text

    for html in pages:
        extract_plain_text(html, main_content=True)


def datatroves(pages: list[str]) -> None:
    """Its Trafilatura extractor and its filters, document by document."""
    from datatrove.data import Document
    from datatrove.pipeline.extractors import Trafilatura
    from datatrove.pipeline.filters import (
        C4QualityFilter,
        FineWebQualityFilter,
        GopherQualityFilter,
        GopherRepetitionFilter,
    )

    extractor = Trafilatura(favour_precision=True)
    filters = (GopherRepetitionFilter(), GopherQualityFilter(), C4QualityFilter(), FineWebQualityFilter())
    for html in pages:
        document = Document(text=extractor.extract(html) or "", id="")
        if document.text:
            all(decision.filter(document) is True for decision in filters)


def replace_splitters() -> None:
    from datatrove.pipeline.filters import (
        c4_filters,
        fineweb_quality_filter,
        gopher_quality_filter,
        gopher_repetition_filter,
    )

    for module in (gopher_quality_filter, gopher_repetition_filter, fineweb_quality_filter):
        module.split_into_words = lambda text, language: text.split()
    c4_filters.split_into_sentences = lambda text, language: text.split(". ")


def peak_mb(files: list[Path]) -> float:
    """Peak memory of a fresh process that does our work once, in MB."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(_work_and_peak, (files,))


def _work_and_peak(files: list[Path]) -> float:
    ours(files, "cascade")
    return peak_resident_bytes() / 2**20


def sourced_texts(files: list[Path]) -> tuple[list[tuple[str, str]], list[str], int]:
    """(url, text) of every page, its HTML, and bytes of all HTML."""
    import pyarrow.parquet as pq

    from pipelines.source.web.charsets import decode
    from pipelines.source.web.warc.responses import Response, read_responses

    responses = [result for file in files for result in read_responses(file) if isinstance(result, Response)]
    folder = Path(tempfile.mkdtemp())
    recipe = load_corpus(RECIPE, [f"source.inputs.1.paths={[str(file) for file in files]}"])
    made: dict[str, Artifact] = {}
    run(source.stage("web", recipe.source, source.fingerprint(recipe.source, folder), folder), folder, made)
    texts = [
        (row["url"], row["text"])
        for path in shard_paths(made["source"].path, "documents")
        for row in pq.read_table(path, columns=["url", "text"]).to_pylist()
    ]
    shutil.rmtree(folder)
    pages = [decode(response.body, response.headers.get("content-type", "")) for response in responses]
    return texts, pages, sum(len(response.body) for response in responses)


def main() -> None:
    quick = arguments(__doc__).quick
    if not WEB.is_dir():
        sys.exit(f"real web pages are not on this machine: {WEB}")
    logging.getLogger("trafilatura").setLevel(logging.CRITICAL)
    replace_splitters()
    files = sorted(WEB.glob("*.warc.gz"))[: 1 if quick else None]
    peak = peak_mb(files)
    one_core()
    texts, pages, html_bytes = sourced_texts(files)
    rounds = 1 if quick else 4
    text_bytes = sum(len(text.encode()) for _, text in texts)
    fast = {
        "resiliparse alone": partial(resiliparse_alone, pages),
        "ours, cascade": partial(ours, files, "cascade"),
        "ours, resiliparse's main content": partial(ours, files, "main_content"),
        "score alone": partial(score_texts, files, texts * rounds),
    }
    slow = {
        "datatrove": partial(datatroves, pages),
        "trafilatura alone": partial(trafilatura_alone, pages),
    }
    timings = interleave(fast, repeats=1 if quick else 9) | interleave(slow, repeats=1 if quick else 2)
    print(f"{len(pages)} pages, {html_bytes / 1e6:.1f} MB of HTML, {text_bytes / 1e6:.2f} MB of text from the cascade")
    rates = {name: html_bytes / 1e6 / timing.median for name, timing in timings.items() if name != "score alone"}
    for name, rate in rates.items():
        print(f"| {name} | {rate:.1f} MB/s of HTML | {timings[name].spread:.0%} |")
    scoring = timings["score alone"]
    print(f"| score alone | {rounds * text_bytes / 1e6 / scoring.median:.1f} MB/s of text | {scoring.spread:.0%} |")
    total = sum(seconds for name, seconds in spent.items() if name.startswith("cascade"))
    shares = ", ".join(
        f"{name.split()[1]} {seconds / total:.0%}" for name, seconds in spent.items() if name.startswith("cascade")
    )
    print(f"CPU time of ours, cascade: {shares}; peak memory of a worker {peak:.0f} MB")
    print(machine("resiliparse", "fastwarc", "trafilatura", "datatrove", "numba", "phonenumbers"))
    ratio = times_as_fast(timings["ours, cascade"], timings["resiliparse alone"])
    print(f"of resiliparse alone, run by run: {ratio:.3f}")
    peers = {name: rate for name, rate in rates.items() if name != "ours, cascade"}
    report("refining", rates["ours, cascade"], peers, "MB/s of raw HTML on one core", ratio, GOAL)


if __name__ == "__main__":
    main()
