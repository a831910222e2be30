"""Duplicates in meaning: the removed documents, their evidence, and the inputs that change the result."""

import random
import shutil

import numpy as np
import pyarrow as pa
import pytest
from safetensors.numpy import load_file, save_file

from data_recipes import RecipeError
from data_recipes.schema import DedupSection, SemanticSection
from pipelines import dedup
from pipelines.artifacts.conversations import ASSISTANT, USER, Conversation, Turn
from pipelines.artifacts.documents import Document
from pipelines.artifacts.duplicates import describe_evidence
from pipelines.dedup.deduplicate import DedupInputError
from pipelines.dedup.deduplicate import deduplicate as deduplicate_table
from pipelines.dedup.options import SemanticOptions
from pipelines.dedup.semantic.model import pinned_model
from tests.kit.files import digests

SEMANTIC = SemanticSection(model="model", cosine_threshold=0.97)
SECTION = DedupSection(semantic=SEMANTIC)


def notes(*texts: str) -> list[Document]:
    return [Document(text, f"http://example.org/{number}", "test") for number, text in enumerate(texts)]


def test_a_paraphrase_is_removed_for_the_better_document_with_the_cosine_as_evidence(deduplicate, texts, static_model):
    base, other = texts.some(1, 60), texts.some(2, 12)
    documents = notes(base, static_model.paraphrased(base), other, "", "unknown words only", "more unknown ones")

    made = deduplicate([documents[:1], documents[1:]], SECTION)

    rows = [made.decisions()[each.doc_id] for each in documents]
    # The paraphrase is the longer of the two.
    assert [row["keep"] for row in rows] == [False, True, True, True, True, True]
    assert (rows[0]["reason"], rows[0]["kept_id"]) == ("semantic_duplicate", documents[1].doc_id)
    assert rows[0]["cosine"] == pytest.approx(static_model.cosine(base, documents[1].text), abs=5e-4)
    assert rows[0]["jaccard"] is rows[0]["containment"] is rows[0]["shared_bands"] is rows[1]["cosine"] is None
    assert [row["cluster_size"] for row in rows] == [2, 2, 1, 1, 1, 1]
    assert describe_evidence(rows[0]).startswith("cosine similarity 0.9")
    assert made.metrics["data/dropped_semantic_duplicate"] == 1
    assert made.metrics["data/documents"] == 5
    assert "cosine" not in next(iter(deduplicate([documents]).decisions().values()))


@pytest.mark.parametrize("seed", range(4))
def test_it_is_what_two_rounds_by_hand_leave(deduplicate, texts, static_model, oracle, seed):
    """The oracle ranks by length and id, and removes a document near a kept one: in words first, then in meaning."""
    draw = random.Random(seed)
    result = [texts.some((seed, n), draw.choice([3, 6, 30])) for n in range(20)]
    for n in range(60):
        words = draw.choice(result[:20]).split()
        for location in draw.sample(range(len(words)), draw.randint(0, len(words))):
            words[location] = f"{words[location]}s" if draw.random() < 0.9 else texts.some((seed, n, location), 1)
        result.append(" ".join(words))
    documents = notes(*result)
    ranked = sorted(documents, key=lambda each: (-len(each.text.encode()), each.doc_id))
    sets = {each.doc_id: oracle.shingles(each.text, 5) for each in documents}
    remaining = without_near(ranked, lambda a, b: oracle.jaccard(sets[a.doc_id], sets[b.doc_id]) >= 0.8)
    remaining = without_near(remaining, lambda a, b: static_model.cosine(a.text, b.text) >= 0.97)

    for shards in (1, 3):
        made = deduplicate([documents[start::shards] for start in range(shards)], SECTION)
        assert made.kept() == {each.doc_id for each in remaining}
    assert made.metrics["data/dropped_semantic_duplicate"] > 5


def without_near(ranked: list[Document], is_near) -> list[Document]:
    remaining: list[Document] = []
    for document in ranked:
        if not any(is_near(document, each) for each in remaining):
            remaining.append(document)
    return remaining


def test_what_a_removed_one_stood_for_moves_to_the_one_that_stays(deduplicate, texts, static_model):
    base = texts.some(1, 200)
    documents = notes(base, texts.edited(base, 1, 3), static_model.paraphrased(base))

    made = deduplicate([documents[:1], documents[1:2], documents[2:]], SECTION)

    rows = [made.decisions()[each.doc_id] for each in documents]
    assert sorted(row["reason"] for row in rows) == ["", "near_duplicate", "semantic_duplicate"]
    assert rows[2]["keep"] and {row["kept_id"] for row in rows[:2]} == {documents[2].doc_id}
    assert {row["cluster_size"] for row in rows} == {3}


def test_embeddings_of_an_earlier_corpus_rank_first(deduplicate, texts, static_model):
    first, second = notes(texts.some(1, 60)), notes(static_model.paraphrased(texts.some(1, 60)), texts.some(2, 60))
    section = DedupSection(semantic=SEMANTIC, against=["first"])

    with_model = deduplicate([second], section, name="second", against=[deduplicate([first], SECTION, name="first")])
    without = deduplicate([second], section, name="third", against=[deduplicate([first], name="first")])

    row = with_model.decisions()[second[0].doc_id]
    assert (row["reason"], row["kept_id"]) == ("semantic_duplicate", first[0].doc_id)
    assert len(with_model.kept()) == 1 and len(without.kept()) == 2


def test_first_prompts_and_passages_go_with_it(deduplicate, texts, static_model):
    answers = [texts.some(n, 40) for n in range(3)]
    answers.append(static_model.paraphrased(answers[2]))
    turns = [("Name a river.", answers[0]), ("Name a river.", answers[1]), ("Lake?", answers[2]), ("See?", answers[3])]
    chats = [Conversation((Turn(USER, question), Turn(ASSISTANT, answer))) for question, answer in turns]
    documents = [Document(each.text, f"chat/{n}", "t", attributes=each.attributes) for n, each in enumerate(chats)]
    section = DedupSection(semantic=SEMANTIC, first_prompts=True, min_passage_words=10)

    made = deduplicate([documents[:2], documents[2:]], section)

    reasons = sorted(row["reason"] for row in made.decisions().values())
    assert reasons == ["", "", "first_prompt", "semantic_duplicate"]
    remaining = {name: sum(len(np.load(file)) for file in made.path.glob(f"{name}/*.records.npy")) for name in INDEXES}
    assert remaining == dict.fromkeys(INDEXES, 2)
    assert all("passages" in row for row in made.decisions().values())


INDEXES = ("index", "prompts", "semantic")


def corpus(texts, static_model, size: int = 150) -> list[Document]:
    bases = [texts.some(n, random.Random(n).randint(8, 40)) for n in range(size)]
    return notes(*bases, *map(static_model.paraphrased, bases))


@pytest.mark.parametrize(("entries", "rows", "group", "task"), [(1, 1, 2_000, 1), (500, 17, 30_000, 3)])
def test_the_bytes_do_not_depend_on_the_size_of_batches(
    deduplicate, texts, static_model, monkeypatch, entries, rows, group, task
):
    monkeypatch.setattr("pipelines.dedup.semantic.clusters.DOCUMENTS_PER_CLUSTER", 40)
    documents = corpus(texts, static_model)
    shards = [documents[start::3] for start in range(3)]
    reference = deduplicate(shards, SECTION)
    monkeypatch.setattr("pipelines.dedup.semantic.vectors.BLOCK_ENTRIES", entries)
    monkeypatch.setattr("pipelines.dedup.semantic.passes.ASSIGNED_ROWS", rows)
    monkeypatch.setattr("pipelines.dedup.semantic.comparing.CLUSTERS_PER_TASK", task)
    monkeypatch.setattr("pipelines.dedup.passes.groups.GROUP_BYTES", group)
    made = deduplicate(shards, SECTION)
    assert digests(made.path) == digests(reference.path)
    assert made.metrics == reference.metrics
    dealt = deduplicate([documents[200:], documents[:200]], SECTION)
    assert dealt.decisions() == reference.decisions()


def test_in_many_clusters_every_removal_is_true_and_few_are_missed(deduplicate, texts, static_model, monkeypatch):
    monkeypatch.setattr("pipelines.dedup.semantic.clusters.DOCUMENTS_PER_CLUSTER", 10)
    documents = corpus(texts, static_model)
    by_id = {each.doc_id: each.text for each in documents}
    made = deduplicate([documents], SECTION)
    removed = [row for row in made.decisions().values() if not row["keep"]]
    for row in removed:
        cosine = static_model.cosine(by_id[row["doc_id"]], by_id[row["kept_id"]])
        assert row["cosine"] == pytest.approx(cosine, abs=5e-4) and row["kept_id"] in made.kept()
    assert 145 <= len(removed) <= 150


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_the_library_function_takes_it_with_any_number_of_threads(texts, static_model, threads):
    base = texts.some(1, 60)
    table = pa.table({"text": [base, texts.some(2, 60), static_model.paraphrased(base)]})
    rows = deduplicate_table(table, semantic=SemanticOptions(static_model.folder), num_threads=threads).to_pylist()
    assert [(row["keep"], row["reason"], row["kept_id"]) for row in rows] == [
        *[(False, "semantic_duplicate", "3"), (True, "", None), (True, "", None)]
    ]


def test_a_folder_without_a_model_is_named(tmp_path):
    with pytest.raises(DedupInputError, match=r"semantic\.model: .*gone has no model\.safetensors"):
        deduplicate_table(pa.table({"text": ["a b"]}), semantic=SemanticOptions(tmp_path / "gone"))


def test_the_key_holds_the_model_and_not_its_folder(deduplicate, texts, static_model, tmp_path):
    documents = notes(texts.some(1, 30))
    made = deduplicate([documents], SECTION)
    assert "semantic" not in deduplicate([documents]).dedup.params
    shutil.copytree(static_model.folder, tmp_path / "copy")
    moved = DedupSection(semantic=SemanticSection(model="copy", cosine_threshold=0.97))
    assert deduplicate([documents], moved).dedup.params == made.dedup.params
    tensors = load_file(static_model.folder / "model.safetensors")
    save_file({"embeddings": tensors["embeddings"] * 2 + 1}, static_model.folder / "model.safetensors")
    assert dedup.fingerprint(SECTION, tmp_path) != dedup.fingerprint(moved, tmp_path)
    with pytest.raises(RuntimeError, match="changed since the run was planned"):
        pinned_model(static_model.folder, dedup.fingerprint(moved, tmp_path)["semantic"])


def test_an_earlier_corpus_with_another_model_is_refused(deduplicate, texts, static_model, tmp_path):
    earlier = deduplicate([notes(texts.some(1, 30))], SECTION, name="first")
    save_file({"embedding.weight": np.ones((97, 4), np.float16)}, static_model.folder / "model.safetensors")
    with pytest.raises(RecipeError, match=r"dedup\.semantic\.model: first, .*another model"):
        deduplicate([[]], DedupSection(semantic=SEMANTIC, against=["first"]), name="second", against=[earlier])
