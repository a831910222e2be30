"""The page is self-contained, escapes all text, and is the same bytes for the same run; figures know no clock."""

import dataclasses
import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pyarrow.parquet as pq
import pytest

from infra.artifact import Artifact
from infra.context import StageContext
from pipelines import report
from pipelines.artifacts.checkpoint import EXPERT_LOAD, EXPERT_LOAD_FILE
from pipelines.artifacts.evaluation import (
    EVIDENCE,
    EVIDENCE_FILE,
    SAMPLES,
    SAMPLES_FILE,
    Score,
    Scores,
    write_differences,
)
from pipelines.artifacts.formats.parquet import write_table
from pipelines.report.figures.style import INK
from tests.kit.stages import idle_stage

FIGURES = {
    *("bits_per_byte", "right_answers", "compute", "compute_beside_arctic", "mixture"),
    *("loss", "loss_by_corpus", "gradient_norm", "learning_rate", "throughput", "busiest_expert", "expert_load"),
}


@pytest.fixture(scope="module", autouse=True)
def coarse_figures() -> Iterator[None]:
    """Their number of dots is not looked at here, and takes most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipelines.report.figures.style.DPI", 40)
        yield


def build(artifacts: dict[str, Artifact], out: Path) -> str:
    out.mkdir()
    stages = {stage_id: idle_stage(stage_id) for stage_id in artifacts}
    stage = report.stage("quick <start>", stages)
    stage.work(StageContext(stage.id, out, out.with_suffix(".state"), [].append), artifacts)
    return (out / "report.html").read_text(encoding="utf-8")


class Outline(HTMLParser):
    """Every tag with its attributes, every text, and whether each opened element is closed."""

    VOID = frozenset({"meta", "br"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, text: str) -> None:
        self.texts.append(text.strip())


@pytest.fixture(scope="module")
def folder(small_run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("built") / "report"
    build(small_run.artifacts, folder)
    return folder


@pytest.fixture(scope="module")
def page(folder: Path) -> str:
    return (folder / "report.html").read_text(encoding="utf-8")


def svgs(page: str) -> list[str]:
    return re.findall(r"<svg.*?</svg>", page, re.DOTALL)


def test_page_is_well_formed_and_needs_nothing_from_outside(page: str) -> None:
    outline = Outline(page)
    assert outline.open == []
    assert not {"script", "link", "img", "iframe", "object"} & {tag for tag, _ in outline.tags}
    policy = next(attributes["content"] for _, attributes in outline.tags if "http-equiv" in attributes)
    assert policy == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    for _, attributes in outline.tags:
        for name in ("src", "href", "xlink:href"):
            target = attributes.get(name) or "#"
            assert target.startswith(("#", "data:"))
    style = page[page.index("<style>") : page.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style
    assert "prefers-color-scheme: dark" in style


def test_links_lead_to_sections(page: str) -> None:
    outline = Outline(page)
    anchors = {attributes["href"] for tag, attributes in outline.tags if tag == "a"}
    sections = {f"#{attributes['id']}" for tag, attributes in outline.tags if tag == "h2"}
    assert anchors == sections | {"#main"}
    assert len(sections) == 11


def test_every_section_is_named_by_its_heading_and_the_tables_stay_tables_as_cards(page: str) -> None:
    outline = Outline(page)
    headings = [attributes["id"] for tag, attributes in outline.tags if tag == "h2"]
    assert [attributes["aria-labelledby"] for tag, attributes in outline.tags if tag == "section"] == headings
    assert {attributes.get("scope") for tag, attributes in outline.tags if tag == "th"} == {"col"}
    for tag, role in (("table", "table"), ("tr", "row"), ("td", "cell"), ("th", "columnheader")):
        assert {attributes.get("role") for name, attributes in outline.tags if name == tag} == {role}
    assert all("data-label" in attributes for tag, attributes in outline.tags if tag == "td")
    assert all(attributes.get("aria-label") for tag, attributes in outline.tags if tag == "svg")


def test_the_first_screen_says_what_was_trained_how_and_what_to_beware_of(page: str) -> None:
    texts = Outline(page.partition("<nav")[0]).texts
    for shown in ("0.150", "2M parameters", "1M active for each token", "8,192 tokens", "0.01", "Muon", "0123abcdef"):
        assert shown in texts
    assert "layer 2: an expert starves" in texts


def test_text_of_the_run_is_escaped(page: str) -> None:
    texts = Outline(page).texts
    assert "quick <start>" in texts
    assert "truncated <record>" in texts and "truncated <record>: 0 bytes" in texts
    assert any(text.startswith("word word") and "<b>" in text for text in texts)
    assert "-- Who is <older> than 0?" in texts


def test_headline_shows_every_score_with_its_interval(page: str) -> None:
    texts = Outline(page).texts
    for shown in ("2.400", "2.350 to 2.450, n = 31", "0.300", "0.200 to 0.400, n = 40", "2,949,120", "1.5"):
        assert shown in texts


def test_scores_say_what_is_chance_what_is_noise_and_what_was_not_measured(page: str) -> None:
    texts = Outline(page).texts
    for shown in (
        "not above chance (0.500), centred 0.100",
        "+0.150: more than noise (p = 0.001)",
        "-0.001: noise (p = 0.4)",
        "race/test.jsonl: missing. Bring it there by hand",
        "0-shot, <greedy>",
    ):
        assert shown in texts


def test_domains_whose_pages_were_chosen_again_are_shown(page: str) -> None:
    shown = page.partition("Pages whose main part held little of their prose")[2].partition("</table>")[0]
    assert "big.example" in shown and "of the domain" in shown


def test_text_taken_out_of_pages_is_shown_by_type_and_domains_with_little_of_it_are_listed(page: str) -> None:
    shown = page.partition("Text that was taken out of pages")[2].partition("</table>")[0]
    assert "article" in shown and "second choice: main content" in shown
    shown = page.partition("Domains of whose visible text less than 5% was kept")[2].partition("</table>")[0]
    assert "big.example" in shown and "2.0%" in shown


def test_contamination_says_how_many_items_where_they_stand_and_what_the_clean_ones_score(page: str) -> None:
    texts = Outline(page).texts
    for shown in (
        "4",
        "0.531",
        "0.430 to 0.630, n = 96",
        "piqa/00003",
        "100%",
        "To open a <jar> of 0 pickles, turn the lid.",
    ):
        assert shown in texts


def test_svgs_are_valid_and_take_the_colour_of_the_page(page: str) -> None:
    histograms = page.count('class="histogram"')
    assert histograms == 3
    assert len(svgs(page)) == len(FIGURES) + histograms + 1
    for svg in svgs(page):
        ElementTree.fromstring(svg)
        assert INK not in svg
        assert "currentColor" in svg or 'class="dag"' in svg or 'class="histogram"' in svg


def test_another_build_has_the_same_figures_whatever_the_clock_says(
    small_run, folder: Path, page: str, tmp_path: Path
) -> None:
    slower = {
        stage_id: Artifact(artifact.path, dataclasses.replace(artifact.manifest, seconds=1000.0))
        for stage_id, artifact in small_run.artifacts.items()
    }
    again = build(slower, tmp_path / "slower")
    assert {file.stem for file in (folder / "figures").iterdir()} == FIGURES
    for name in FIGURES:
        file = Path("figures") / f"{name}.png"
        assert (folder / file).read_bytes() == (tmp_path / "slower" / file).read_bytes()
        assert (folder / file).read_bytes().startswith(b"\x89PNG")
    assert [svg for svg in svgs(page) if 'class="dag"' not in svg] == [
        svg for svg in svgs(again) if 'class="dag"' not in svg
    ]
    assert again != page


def test_run_without_questions_quarantine_or_intervals_has_a_page_too(small_run, tmp_path: Path) -> None:
    plain = {
        stage_id: Artifact(artifact.path, dataclasses.replace(artifact.manifest, quarantined=()))
        for stage_id, artifact in small_run.artifacts.items()
    }
    for stage_id in ("evaluate[1]", "evaluate[2]", "evaluate[3]"):
        scores = Scores.read(plain[stage_id].path)
        bits = {name: score for name, score in scores.scores.items() if name.startswith("bits")}
        intelligence = {"enterprise_intelligence": Score(0.1, 4, None, None)}
        unsure = {name: dataclasses.replace(score, low=None, high=None) for name, score in bits.items()} | intelligence
        scores = dataclasses.replace(scores, scores=unsure, headlines={}, protocols={}, skipped={}, contamination={})
        silent = tmp_path / stage_id
        (silent / SAMPLES_FILE).parent.mkdir(parents=True)
        scores.write(silent)
        write_differences({}, silent)
        pq.write_table(SAMPLES.empty_table(), silent / SAMPLES_FILE)
        pq.write_table(EVIDENCE.empty_table(), silent / EVIDENCE_FILE)
        plain[stage_id] = Artifact(silent, plain[stage_id].manifest)
    texts = Outline(build(plain, tmp_path / "plain")).texts
    assert "This run asks no questions." in texts
    assert "too few, n = 31" in texts
    assert "too few, n = 4" in texts
    assert any(text.startswith("Nobody looked: no corpus names an evaluation file") for text in texts)
    assert "0 records could not be read and went no further." in texts


@pytest.mark.parametrize(("kinds", "announced"), [(("Xeon",), False), (("Xeon", "EPYC"), True)])
def test_results_from_several_kinds_of_machines_are_announced(
    small_run, tmp_path: Path, kinds: tuple[str, ...], announced: bool
) -> None:
    artifacts = {}
    for number, (name, artifact) in enumerate(small_run.artifacts.items()):
        recorded = {"arithmetic": {"cpu_model": kinds[number % len(kinds)]}}
        manifest = dataclasses.replace(artifact.manifest, provenance=recorded)
        artifacts[name] = dataclasses.replace(artifact, manifest=manifest)
    assert ("built on 2 kinds of machines" in build(artifacts, tmp_path / "out")) == announced


def test_the_page_of_a_dense_model_has_no_experts(small_run, tmp_path: Path) -> None:
    artifacts = dict(small_run.artifacts)
    for name in ("train[1]", "train[2]", "train[3]"):
        folder = shutil.copytree(artifacts[name].path, tmp_path / name)
        (folder / EXPERT_LOAD_FILE).unlink()
        write_table(EXPERT_LOAD.empty_table(), folder / EXPERT_LOAD_FILE)
        artifacts[name] = dataclasses.replace(artifacts[name], folder=folder)
    page = build(artifacts, tmp_path / "report")
    assert page.count("no experts") == 3
    assert "Load of every expert" not in page
