"""Guards: a source that all but vanishes and a cluster that swallows too much raise alarms, and stop the run if
configured."""

import pytest

from data_recipes.schema import DedupSection
from pipelines.artifacts.documents import Document
from pipelines.artifacts.duplicates import read_alarms
from pipelines.dedup.stage import DedupError


@pytest.fixture
def wiped_out(texts) -> list[Document]:
    """150 copies of one page from one origin, among 150 pages of another."""
    page = texts.some("template")
    copies = [Document(page, f"shop/{n}", "shop") for n in range(150)]
    return copies + [Document(texts.some(n, 40), f"wiki/{n}", "wiki") for n in range(150)]


def test_a_loss_beyond_the_limit_is_named_with_its_origin(deduplicate, wiped_out):
    made = deduplicate([wiped_out[::2], wiped_out[1::2]], DedupSection(max_cluster_size=100))
    alarms = {alarm.kind: alarm for alarm in read_alarms(made.path)}
    assert (alarms["removed_fraction"].subject, alarms["removed_fraction"].value) == ("shop", 149 / 150)
    assert "origin shop: 149 of 150 documents are duplicates (99.3%)" in alarms["removed_fraction"].message
    assert (alarms["cluster_size"].value, alarms["cluster_size"].limit) == (150, 100)
    assert len(read_alarms(made.path)) == 2


def test_the_corpus_as_a_whole_is_guarded_too(deduplicate, wiped_out):
    result = read_alarms(deduplicate([wiped_out], DedupSection(max_removed_fraction=0.4)).path)
    assert [alarm.subject for alarm in result] == ["", "shop"]


def test_nothing_is_alarming_about_a_small_origin_or_a_loss_at_the_limit(deduplicate, wiped_out):
    handful = wiped_out[:99]
    assert read_alarms(deduplicate([handful]).path) == []
    assert read_alarms(deduplicate([wiped_out], DedupSection(max_removed_fraction=149 / 150)).path) == []


def test_a_recipe_can_stop_at_an_alarm(deduplicate, wiped_out):
    with pytest.raises(DedupError, match=r"origin shop: 149 of 150 .* raise the limit, or set dedup.on_alarm"):
        deduplicate([wiped_out], DedupSection(on_alarm="stop"))
