"""Numbers on the page are those of the artifacts, counted here row by row."""

import json
from collections import Counter
from dataclasses import replace
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.report.figures.training import running_mean
from pipelines.report.sections.data import data_section
from pipelines.report.summary.corpus import Count, hosts_of
from pipelines.report.summary.histograms import Histograms
from pipelines.report.summary.run import RunSummary, read_summary


@pytest.fixture
def summary(small_run) -> RunSummary:
    return read_summary("run", small_run.artifacts)


def rows(small_run, stage_id: str, kind: str) -> list[dict]:
    return pq.read_table(small_run.artifacts[stage_id].path / kind).to_pylist()


def test_funnel_counts_documents_and_bytes(small_run, summary: RunSummary) -> None:
    for corpus in summary.corpora:
        documents = rows(small_run, f"source[{corpus.name}]", "documents")
        scores = rows(small_run, f"filter[{corpus.name}]", "filtered")
        decisions = rows(small_run, f"dedup[{corpus.name}]", "decisions")
        masks = ([True] * len(documents), [row["keep"] for row in scores], [row["keep"] for row in decisions])
        for (_, count), mask in zip(corpus.steps, masks, strict=True):
            texts = [row["text"] for row, keep in zip(documents, mask, strict=True) if keep]
            assert count.documents == len(texts)
            assert count.text_bytes == sum(len(text.encode()) for text in texts)


def test_every_dropped_document_has_one_reason(small_run, summary: RunSummary) -> None:
    for corpus in summary.corpora:
        dropped = sum(count.documents for count in corpus.dropped.values())
        assert dropped == corpus.sourced.documents - corpus.kept.documents
        near = sum(row["reason"] == "near_duplicate" for row in rows(small_run, f"dedup[{corpus.name}]", "decisions"))
        assert corpus.dropped["dedup", "near_duplicate"].documents == near > 0
        assert ("dedup", "filter") not in corpus.dropped


def test_samples_of_a_reason_are_those_with_the_smallest_ids_as_training_would_read_them(
    small_run, summary: RunSummary
) -> None:
    for corpus in summary.corpora:
        texts = {row["doc_id"]: row for row in rows(small_run, f"source[{corpus.name}]", "documents")}
        for (stage, reason), samples in corpus.samples.items():
            table = {"filter": "filtered", "dedup": "decisions"}[stage]
            reported = rows(small_run, f"{stage}[{corpus.name}]", table)
            ids = sorted(row["doc_id"] for row in reported if row["reason"] == reason)
            assert [sample.doc_id for sample in samples] == ids[:3]
            for sample in samples:
                text = texts[sample.doc_id]["text"].replace("ann@example.org", "<EMAIL>")
                assert sample.beginning == (text if len(text) <= 300 else text[:300] + "…")
                assert sample.url == texts[sample.doc_id]["url"]


def test_domains_are_counted_without_www_port_and_case(small_run, summary: RunSummary) -> None:
    for corpus in summary.corpora:
        urls = [row["url"] for row in rows(small_run, f"source[{corpus.name}]", "documents")]
        keeps = [row["keep"] for row in rows(small_run, f"dedup[{corpus.name}]", "decisions")]
        hosts = [(urlsplit(url).hostname or "").removeprefix("www.") for url in urls]
        assert corpus.domains == Counter(filter(None, hosts))
        remaining = [host for host, keep in zip(hosts, keeps, strict=True) if keep]
        assert +corpus.kept_domains == Counter(filter(None, remaining))
        assert corpus.domains["big.example"] > 10


@pytest.mark.parametrize("user", ["", "ann@", "ann:word@"])
@pytest.mark.parametrize("host", ["example.org", "www.Example.org", "1.2.3.4", "[::1]"])
@pytest.mark.parametrize("rest", ["", "/", "?to=b@c.org", "#a@b", "/a@b/c", ":81/?x=@y", "/?u=http://b.org"])
def test_the_host_of_a_url_ends_where_query_and_fragment_begin(user: str, host: str, rest: str) -> None:
    url = f"http://{user}{host}{rest}"
    expected = (urlsplit(url).hostname or "").removeprefix("www.")
    assert [found.strip("[]") for found in hosts_of(pa.chunked_array([[url]])).to_pylist()] == [expected]


def test_pages_that_were_chosen_again_are_counted_by_domain(small_run, summary: RunSummary) -> None:
    for corpus in summary.corpora:
        documents = rows(small_run, f"source[{corpus.name}]", "documents")
        again = [row["url"] for row in documents if row["extractor"].startswith("second choice")]
        hosts = [(urlsplit(url).hostname or "").removeprefix("www.") for url in again]
        assert corpus.chosen_again == Counter(filter(None, hosts))
        assert 0 < corpus.chosen_again["big.example"] < corpus.domains["big.example"]


def test_shares_of_visible_text_are_means_by_type_engine_and_domain(small_run, summary: RunSummary) -> None:
    for corpus in summary.corpora:
        documents = rows(small_run, f"source[{corpus.name}]", "documents")
        reported = [(row, json.loads(row["attributes"])["kept_share"]) for row in documents if row["attributes"]]
        engines = Counter(row["extractor"] for row, _ in reported)
        assert {kind: share.pages for kind, share in corpus.extraction.by_kind.items()} == {
            ("article", engine): count for engine, count in engines.items()
        }
        assert sum(share.total for share in corpus.extraction.by_kind.values()) == pytest.approx(
            sum(share for _, share in reported)
        )
        assert [domain for domain, _ in corpus.extraction.low_domains] == ["big.example"]
        assert corpus.extraction.by_domain["big.example"].mean == pytest.approx(0.02)


def test_tokens_before_encoding_are_estimated_by_the_bytes_per_token(summary: RunSummary) -> None:
    for corpus in summary.corpora:
        assert corpus.num_tokens == 123456 + 2345
        assert corpus.estimated_tokens(corpus.sourced) == round(corpus.sourced.text_bytes / 3.21)


def test_records_without_a_document_are_counted_by_reason(summary: RunSummary) -> None:
    for corpus in summary.corpora:
        assert corpus.passed_over == {"http_status": 7}
        assert corpus.set_aside == {"truncated <record>": 2}


def test_each_cluster_is_counted_once_by_the_document_that_stands_for_it(small_run, summary: RunSummary) -> None:
    for corpus in summary.corpora:
        decisions = rows(small_run, f"dedup[{corpus.name}]", "decisions")
        assert corpus.clusters == Counter(row["cluster_size"] for row in decisions if row["keep"])


def test_phases_carry_plan_history_load_and_scores(small_run, summary: RunSummary) -> None:
    assert [phase.plan.phase for phase in summary.phases] == ["general", "code", "enterprise"]
    assert [phase.scores.step for phase in summary.phases] == [120, 240, 360]
    second = summary.phases[1]
    assert second.history["tokens"][-1] == second.scores.tokens
    assert second.epochs["text_to_sql"] == pytest.approx((192 + 576) / 1500)
    load = pq.read_table(small_run.artifacts["train[2]"].path / "expert_load.parquet").to_pylist()
    for row in load:
        assert second.expert_load[row["layer"], row["expert"]] == row["share"] * 8
    np.testing.assert_allclose(second.expert_load.mean(axis=1), 1.0)


def test_running_mean_equals_slices() -> None:
    values = np.random.default_rng(0).normal(size=200)
    expected = [values[max(0, location - 5) : location + 6].mean() for location in range(200)]
    np.testing.assert_allclose(running_mean(values), expected)
    assert running_mean(np.array([3.0])).tolist() == [3.0]


def test_a_filter_that_dropped_more_than_half_is_named_on_the_page(summary: RunSummary) -> None:
    corpus = summary.corpora[0]
    assert corpus.loss_note == ""
    lost = Count(documents=corpus.sourced.documents // 2 + 1)
    heavy = replace(corpus, dropped={("filter", "stop_words"): lost}, samples={("filter", "stop_words"): []})
    assert f"{lost.documents:,} of them by the rule stop_words" in data_section([heavy])
    light = replace(heavy, dropped={("dedup", "near_duplicate"): lost}, samples={("dedup", "near_duplicate"): []})
    assert "the filter dropped" not in data_section([light])


def test_histograms_count_every_document_and_the_limit_parts_those_that_are_dropped(
    small_run, summary: RunSummary
) -> None:
    for corpus in summary.corpora:
        scores = rows(small_run, f"score[{corpus.name}]", "scores")
        histogram = corpus.histograms.by_rule["min_words"]
        assert histogram.threshold == 41
        for low, high, count in zip(histogram.edges[:-1], histogram.edges[1:], histogram.counts, strict=True):
            assert count == sum(low <= row["words"] < high for row in scores)
        reasons = [row["reason"] for row in rows(small_run, f"filter[{corpus.name}]", "filtered")]
        assert histogram.dropped == reasons.count("min_words")


def test_a_limit_that_can_drop_nothing_has_no_histogram(summary: RunSummary) -> None:
    assert set(summary.corpora[0].histograms.by_rule) == {"min_words", "max_words", "code_lines"}


def test_scores_that_documents_cannot_have_and_scores_beyond_the_edges_are_counted() -> None:
    histograms = Histograms.of_limits({"max_mean_word_length": 12.0})
    scores = pa.table({"mean_word_length": pa.array([None, 5.1, 5.2, 19.9, 400.0, 13.0])})
    histograms.add(scores, np.array(["", "", "", "", "max_mean_word_length", "max_mean_word_length"], object))
    histogram = histograms.by_rule["max_mean_word_length"]
    assert (histogram.unmeasured, histogram.dropped, histogram.counts.sum()) == (1, 2, 5)
    assert histogram.counts[10] == 2
    assert histogram.counts[-1] == 2


def test_languages_and_licences_are_counted_before_and_after(small_run, summary: RunSummary) -> None:
    for corpus in summary.corpora:
        scores = rows(small_run, f"score[{corpus.name}]", "scores")
        keeps = [row["keep"] for row in rows(small_run, f"dedup[{corpus.name}]", "decisions")]
        documents = rows(small_run, f"source[{corpus.name}]", "documents")
        assert corpus.languages == Counter(row["language"] for row in scores)
        assert +corpus.kept_languages == Counter(
            row["language"] for row, keep in zip(scores, keeps, strict=True) if keep
        )
        assert corpus.licences == Counter(row["licence"] or "" for row in documents)


def test_samples_of_kept_documents_are_kept_documents(small_run, summary: RunSummary) -> None:
    for corpus in summary.corpora:
        decisions = rows(small_run, f"dedup[{corpus.name}]", "decisions")
        ids = sorted(row["doc_id"] for row in decisions if row["keep"])
        assert [sample.doc_id for sample in corpus.kept_samples] == ids[:3]


def test_losses_by_corpus_leave_out_the_steps_that_read_none_of_it(summary: RunSummary) -> None:
    losses = summary.phases[0].loss_by_corpus
    assert np.isnan(losses["python_code"][::3]).all() and not np.isnan(losses["python_code"][1::3]).any()
    assert set(losses["text_to_sql"]) == {2.0}


def test_warnings_of_stages_and_of_their_results_are_collected_once(summary: RunSummary) -> None:
    messages = [message for _, message in summary.warnings]
    assert messages.count("layer 2: an expert starves") == 1
    assert ("evaluate[3]", "race is not measured: race/test.jsonl: missing. Bring it there by hand") in summary.warnings


def test_settings_add_up_the_phases(summary: RunSummary) -> None:
    settings = summary.settings
    assert (settings.parameters, settings.steps, settings.worker_hours) == (2_000_000, 360, 1.5)
    assert settings.flops == 6 * 1e6 * settings.tokens
    assert settings.cost is None
