"""The stage `dedup`: planted duplicates go, others stay, and every decision is the definition's, by brute force."""

import itertools
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_recipes.schema import DedupSection
from pipelines.artifacts.documents import DECISIONS, Document
from pipelines.dedup.minhash import band_words, shingle, signatures


def note(text: str, number: object = 0, origin: str = "test") -> Document:
    return Document(text, f"http://example.org/{number}", origin)


@pytest.fixture
def planted(texts) -> list[Document]:
    """Originals, near copies (J about 0.96 and 0.9), remote copies (J about 0.5), exact copies, texts with a long
    common part, and texts with few words or none."""
    result = []
    for n in range(12):
        text = texts.some(n)
        result += [text, *(texts.edited(text, (n, changes), changes) for changes in (1, 3, 18))]
    result += [texts.some(n).replace(" ", "\n ") for n in range(3)]
    licence = texts.some("licence", 300)
    result += [f"{licence} {texts.some(('own', n), 120)}" for n in range(8)]
    result += ["", "  ", "!", "one two", "one two three four five", "One two", "!"]
    return [note(text, n) for n, text in enumerate(result)]


@pytest.fixture
def define(oracle):
    """The result by its definition: documents in order of rank, each compared with every kept one before it."""

    def define(documents: list[Document], section: DedupSection, quality: dict[str, float] | None = None):
        table = pa.array([each.text for each in documents], pa.large_string())
        signed = signatures(shingle(table, section.ngram), section.num_bands * section.rows_per_band, section.seed)
        words = band_words(signed, section.num_bands)
        sets = [oracle.shingles(each.text, section.ngram) for each in documents]

        def rank(number: int):
            each = documents[number]
            return -(quality or {}).get(each.url, 0.0), -len(each.text.encode()), each.doc_id

        remaining: list[int] = []
        stands: dict[str, str] = {}
        for number in sorted(range(len(documents)), key=rank):
            for other in remaining:
                if (words[number] == words[other]).any():
                    exact = oracle.jaccard(sets[number], sets[other])
                    contained = len(sets[number] & sets[other]) / len(sets[number])
                    if exact >= section.jaccard_threshold or contained >= (section.containment_threshold or 2):
                        stands[documents[number].doc_id] = documents[other].doc_id
                        break
            else:
                remaining.append(number)
        return stands

    return define


def dealt(documents: list[Document], shards: int, seed: int = 0) -> list[list[Document]]:
    order = list(documents)
    random.Random(seed).shuffle(order)
    return [order[start::shards] for start in range(shards)]


def test_planted_duplicates_are_removed_and_every_removal_is_true(deduplicate, planted, oracle):
    made = deduplicate([planted[:20], planted[20:21], [], planted[21:]])
    result = made.decisions()
    by_id = {each.doc_id: each for each in planted}
    sets = {each.doc_id: oracle.shingles(each.text, 5) for each in planted}
    for doc_id, row in result.items():
        if row["keep"]:
            assert [row[name] for name in ("reason", "kept_id", "jaccard", "containment")] == ["", None, None, None]
            continue
        one, other = sets[doc_id], sets[row["kept_id"]]
        assert row["jaccard"] == oracle.jaccard(one, other) >= 0.8
        assert row["containment"] == len(one & other) / len(one)
        assert 1 <= row["shared_bands"] <= 16
        assert result[row["kept_id"]]["keep"], "the document that stands for others is kept itself"
        same = oracle.words_of(by_id[doc_id].text) == oracle.words_of(by_id[row["kept_id"]].text)
        assert row["reason"] == ("exact_duplicate" if same else "near_duplicate")
    remaining = made.kept()
    missed = [
        pair for pair in itertools.combinations(remaining, 2) if oracle.jaccard(sets[pair[0]], sets[pair[1]]) >= 0.8
    ]
    assert not missed
    assert sum(row["reason"] == "near_duplicate" for row in result.values()) >= 24


@pytest.mark.parametrize("seed", range(4))
def test_the_result_is_the_definition_on_random_corpora(deduplicate, define, texts, seed):
    """Chains, stars and mixtures of edits; few rows a band, so that many unlike pairs meet."""
    draw = random.Random(seed)
    result = [texts.some((seed, n), 60) for n in range(6)]
    for n in range(120):
        base = draw.choice(result)
        result.append(draw.choice([base.upper(), texts.edited(base, n, draw.randint(1, 5)), base + " and more"]))
    documents = [note(text, n) for n, text in enumerate(result)]
    quality = {each.url: draw.choice([0.0, 0.25, 0.5]) for each in documents}
    section = DedupSection(
        ngram=3,
        num_bands=20,
        rows_per_band=3,
        jaccard_threshold=draw.choice([0.5, 0.7]),
        containment_threshold=draw.choice([None, 0.9]),
    )
    expected = define(documents, section, quality)
    made = deduplicate(dealt(documents, 3, seed), section, quality=quality)
    assert {doc_id: row["kept_id"] for doc_id, row in made.decisions().items() if not row["keep"]} == expected
    assert made.metrics["data/pairs_rejected"] > 0 and len(expected) > 20


def test_without_verification_boilerplate_would_have_gone(deduplicate, texts):
    licence = texts.some("licence", 300)
    documents = [note(f"{licence} {texts.some(n, 90)}", n) for n in range(10)]
    made = deduplicate([documents])
    assert made.metrics["data/pairs_rejected"] > 0
    assert made.metrics["data/documents"] == 10


def test_what_the_filter_dropped_is_not_compared_and_stands_for_nothing(deduplicate, texts):
    text = texts.some(0)
    documents = [note(text + " more", "a"), note(text, "b"), note(text, "c")]
    result = deduplicate([documents], dropped=(documents[0].url,)).decisions()
    first, *others = (result[each.doc_id] for each in documents)
    assert (first["keep"], first["reason"], first["kept_id"], first["cluster_size"]) == (False, "filter", None, 1)
    remaining = min(each.doc_id for each in documents[1:])
    assert sorted((row["keep"], row["kept_id"], row["cluster_size"]) for row in others) == [
        (False, remaining, 2),
        (True, None, 2),
    ]


def test_a_shard_of_which_nothing_passed_is_all_filter(deduplicate, planted):
    made = deduplicate([planted[:3], planted[3:6]], dropped=tuple(each.url for each in planted[:3]))
    table = pq.read_table(made.path / "decisions/00000.parquet")
    assert table["reason"].to_pylist() == ["filter"] * 3
    assert made.metrics["data/documents_in"] == 3


def test_decisions_have_the_schema_and_the_order_of_the_documents(deduplicate, planted):
    made = deduplicate([planted[:10], planted[10:]])
    for name in ("00000", "00001"):
        table = pq.read_table(made.path / "decisions" / f"{name}.parquet")
        assert table.schema.equals(DECISIONS)
        assert table["doc_id"] == pq.read_table(made.home / "documents" / f"{name}.parquet")["doc_id"]


def test_clusters_are_listed_largest_first_and_the_numbers_agree(deduplicate, planted):
    made = deduplicate([planted[::2], planted[1::2]])
    result = made.decisions()
    clusters = pq.read_table(made.path / "clusters.parquet").to_pylist()
    sizes = [row["size"] for row in clusters]
    assert sizes == sorted(sizes, reverse=True) and min(sizes) > 1
    for row in clusters:
        members = [each for each in result.values() if row["kept_id"] in (each["doc_id"], each["kept_id"])]
        assert {each["cluster_size"] for each in members} == {len(members)} == {row["size"]}
    removed = [row for row in result.values() if not row["keep"]]
    assert made.metrics["data/clusters"] == len(clusters) and made.metrics["data/largest_cluster"] == sizes[0]
    assert made.metrics["data/documents_in"] - made.metrics["data/documents"] == len(removed)
    by_reason = [made.metrics[f"data/dropped_{reason}"] for reason in ("exact_duplicate", "near_duplicate")]
    assert sum(by_reason) == len(removed) and min(by_reason) > 0
    by_id = {each.doc_id: each for each in planted}
    assert made.metrics["data/bytes_in"] == sum(len(each.text.encode()) for each in planted)
    assert made.metrics["data/bytes"] == sum(len(by_id[doc_id].text.encode()) for doc_id in made.kept())


def test_the_better_ranked_document_is_kept(deduplicate, texts):
    text = texts.some(0)
    long, short = note(text + " x", "long"), note(text, "short")
    assert deduplicate([[short, long]]).kept() == {long.doc_id}
    assert deduplicate([[short], [long]], quality={short.url: 0.5}).kept() == {short.doc_id}
    twins = [note(text, 1), note(text, 2)]
    assert deduplicate([twins]).kept() == deduplicate([twins[::-1]]).kept() == {min(each.doc_id for each in twins)}


def test_documents_without_words_are_duplicates_only_byte_for_byte(deduplicate):
    documents = [note(text, n) for n, text in enumerate(["", "", " ", "!", "!", "?", "\n"])]
    made = deduplicate([documents[:3], documents[3:]])
    assert sorted(each.text for each in documents if each.doc_id in made.kept()) == ["", "\n", " ", "!", "?"]


def test_documents_with_fewer_words_than_a_shingle_are_compared_as_one(deduplicate):
    documents = [note(text, n) for n, text in enumerate(["one", "One!", "two", "one two", "two one", "ONE, TWO"])]
    remaining = deduplicate([documents]).kept()
    assert sorted(each.text.lower().strip("!") for each in documents if each.doc_id in remaining) in (
        ["one", "one two", "two", "two one"],
        ["one", "one, two", "two", "two one"],
    )


def test_a_bucket_that_is_full_is_split_by_a_second_signature(deduplicate, texts):
    """With room for one kept document in a bucket, boilerplate costs few pairs, and near copies are still found."""
    licence = texts.some("licence", 140)
    many = [note(f"{licence} {texts.some(('own', n), 25)}", f"many{n}") for n in range(60)]
    near = [note(texts.edited(each.text, each.url, 1), f"near {each.url}") for each in many]
    section = DedupSection(num_bands=32, rows_per_band=4)
    free = deduplicate([many, near], section)
    tight = deduplicate([many, near], section.model_copy(update={"max_bucket": 1}))
    assert tight.metrics["data/pairs_compared"] < free.metrics["data/pairs_compared"] / 2
    assert free.metrics["data/documents"] == 60
    assert tight.metrics["data/documents"] <= 63
    for row in tight.decisions().values():
        assert row["keep"] or row["jaccard"] >= 0.8


@pytest.mark.parametrize("changes", [1, 8], ids=["near duplicates of one text", "pages with one frame"])
def test_compared_pairs_grow_with_the_documents_and_not_with_their_square(deduplicate, texts, changes):
    """Pages with one frame are kept, each, and share the buckets that a corpus of templates fills. Doubled, they would
    have four times the pairs if each were compared with each."""
    frame, section = texts.some("frame", 400), DedupSection(num_bands=16, rows_per_band=4, max_bucket=2)
    pairs = []
    for size in (100, 200, 400):
        pages = [note(texts.edited(frame, page, changes), f"page {page}") for page in range(size)]
        pairs.append(deduplicate([pages], section).metrics["data/pairs_compared"])
    assert pairs[0] >= 90 and pairs[1] < 2.7 * pairs[0] and pairs[2] < 2.7 * pairs[1]


@pytest.mark.parametrize(("threshold", "near"), [(0.5, 36), (0.95, 12), (1.0, 0)])
def test_the_threshold_decides_how_near_is_near(deduplicate, planted, threshold, near):
    section = DedupSection(num_bands=32, rows_per_band=4, jaccard_threshold=threshold)
    made = deduplicate([planted[:48]], section)
    assert made.metrics["data/dropped_near_duplicate"] == pytest.approx(near, abs=near // 3)


def test_a_document_inside_a_longer_one_goes_where_containment_counts(deduplicate, texts):
    whole = texts.some(0, 300)
    documents = [note(whole, "whole"), note(" ".join(whole.split()[:170]), "part")]
    section = DedupSection(num_bands=64, rows_per_band=2)
    assert len(deduplicate([documents], section).kept()) == 2
    made = deduplicate([documents], section.model_copy(update={"containment_threshold": 0.99}))
    row = made.decisions()[documents[1].doc_id]
    assert (row["keep"], row["containment"]) == (False, 1.0)
    assert row["jaccard"] < 0.6
