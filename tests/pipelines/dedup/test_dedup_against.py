"""Against an earlier corpus: the kept documents equal those of a full run over both, in which the earlier corpus has
priority."""

import random

import pytest

from data_recipes import RecipeError
from data_recipes.schema import DedupSection
from pipelines.artifacts.documents import Document

SECTION = DedupSection(ngram=3, num_bands=20, rows_per_band=3, jaccard_threshold=0.6)


def corpora(texts, seed: int) -> tuple[list[Document], list[Document]]:
    """Two corpora with copies of all kinds inside each and across them."""
    draw = random.Random(seed)
    result = [texts.some((seed, n), 50) for n in range(5)]
    for n in range(150):
        base = draw.choice(result)
        result.append(draw.choice([base.upper(), texts.edited(base, n, draw.randint(1, 4)), f"{base} and more"]))
    documents = [Document(text, f"http://example.org/{n}", "test") for n, text in enumerate(result)]
    draw.shuffle(documents)
    return documents[:90], documents[90:]


def dealt(documents: list[Document], shards: int) -> list[list[Document]]:
    return [documents[start::shards] for start in range(shards)]


@pytest.mark.parametrize(("seed", "max_bucket"), [(0, 1000), (1, 2), (2, 1)])
def test_what_is_kept_equals_a_full_run_over_both(deduplicate, texts, seed, max_bucket):
    """The full run knows the priority as a quality that is higher for the earlier corpus."""
    old, new = corpora(texts, seed)
    section = SECTION.model_copy(update={"max_bucket": max_bucket})
    full = deduplicate(dealt([*old, *new], 3), section, quality={each.url: 1.0 for each in old}).decisions()
    earlier = deduplicate(dealt(old, 2), section, name="snapshot")
    later = deduplicate(
        dealt(new, 3), section.model_copy(update={"against": ["snapshot"]}), name="notes", against=[earlier]
    )
    apart = earlier.decisions() | later.decisions()
    assert {doc_id for doc_id, row in apart.items() if row["keep"]} == {
        doc_id for doc_id, row in full.items() if row["keep"]
    }
    evidence = ("keep", "reason", "kept_id", "jaccard", "containment", "shared_bands")
    assert [[apart[doc_id][name] for name in evidence] for doc_id in full] == [
        [row[name] for name in evidence] for row in full.values()
    ]
    for row in later.decisions().values():
        in_full = full.get(row["kept_id"])
        assert in_full is None or row["cluster_size"] == in_full["cluster_size"]
    gone_to_old = [row for row in later.decisions().values() if row["kept_id"] in earlier.decisions()]
    assert gone_to_old


def test_a_third_snapshot_against_two_that_were_made_in_turn(deduplicate, texts):
    old, rest = corpora(texts, 5)
    middle, new = rest[:30], rest[30:]
    quality = {each.url: 2.0 for each in old} | {each.url: 1.0 for each in middle}
    full = deduplicate([old, middle, new], SECTION, quality=quality)
    first = deduplicate([old], SECTION, name="first")
    second = deduplicate([middle], SECTION.model_copy(update={"against": ["first"]}), name="second", against=[first])
    section = SECTION.model_copy(update={"against": ["first", "second"]})
    third = deduplicate([new], section, name="third", against=[first, second])
    assert first.kept() | second.kept() | third.kept() == full.kept()


def test_texts_of_the_earlier_corpus_are_read_only_to_verify(deduplicate, texts, monkeypatch):
    """A shard of the earlier corpus that shares no band with anything new may be gone."""
    old = [Document(texts.some(("old", n)), f"old/{n}", "test") for n in range(6)]
    earlier = deduplicate([old[:3], old[3:]], name="snapshot")
    (earlier.home / "documents/00001.parquet").write_bytes(b"unreadable")
    new = [Document(texts.edited(old[0].text, 1, 1), "new/0", "test"), Document(texts.some("new"), "new/1", "test")]
    later = deduplicate([new], DedupSection(against=["snapshot"]), against=[earlier])
    assert later.kept() == {new[1].doc_id}


def test_corpora_of_other_signatures_cannot_be_compared(deduplicate, texts):
    earlier = deduplicate([[Document(texts.some(0), "a", "test")]], name="snapshot")
    section = DedupSection(against=["snapshot"], ngram=3)
    with pytest.raises(RecipeError, match=r"dedup.ngram = 3, but snapshot.* has 5. Use 5 here"):
        deduplicate([[Document(texts.some(1), "b", "test")]], section, against=[earlier])


def test_the_index_takes_184_bytes_a_kept_document_and_nothing_of_the_others(deduplicate, texts):
    text = texts.some(0)
    documents = [Document(text, f"{n}", "test") for n in range(50)] + [
        Document(texts.some(n), f"{n}", "test") for n in range(1, 101)
    ]
    made = deduplicate([documents])
    sizes = {path.name: path.stat().st_size - 128 for path in (made.path / "index").iterdir()}
    assert sizes["00000.words.npy"] == 101 * 16 * 8
    assert sizes["00000.records.npy"] < 101 * 60 + 256
