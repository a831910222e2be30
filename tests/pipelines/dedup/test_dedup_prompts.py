"""Conversations are deduplicated on the whole text, and on request on their first prompts as well."""

import random

import pytest

from data_recipes.schema import DedupSection
from pipelines.artifacts.conversations import ASSISTANT, USER, Conversation, Turn
from pipelines.artifacts.documents import Document

SECTION = DedupSection(first_prompts=True)


def chat(name: object, prompt: str, *answers: str, origin: str = "chats") -> Document:
    """A conversation that begins with `prompt`; each answer but the first follows "Go on."."""
    turns = [Turn(USER, prompt)]
    for number, answer in enumerate(answers):
        turns += [Turn(USER, "Go on.")] * (number > 0) + [Turn(ASSISTANT, answer)]
    whole = Conversation(tuple(turns))
    return Document(whole.text, f"http://example.org/{name}", origin, attributes=whole.attributes)


def by_url(made, documents) -> dict[str, dict]:
    rows = made.decisions()
    return {document.url.rsplit("/", 1)[1]: rows[document.doc_id] for document in documents}


def test_the_longest_of_those_that_begin_alike_stays(deduplicate, texts):
    documents = [
        chat("short", "Which river is the longest?", texts.some(1, 30)),
        chat("long", "which RIVER is the longest", texts.some(2, 60)),
        chat("other", "Which river is the widest?", texts.some(3, 30)),
        Document("Which river is the longest?", "http://example.org/page", "pages"),
    ]

    rows = by_url(deduplicate([documents[:2], documents[2:]], SECTION), documents)

    assert [name for name, row in rows.items() if row["keep"]] == ["long", "other", "page"]
    assert (rows["short"]["reason"], rows["short"]["kept_id"]) == ("first_prompt", documents[1].doc_id)
    assert (rows["short"]["jaccard"], rows["short"]["cluster_size"], rows["long"]["cluster_size"]) == (1.0, 2, 2)
    assert by_url(deduplicate([documents]), documents)["short"]["keep"]


def test_what_a_removed_one_stood_for_moves_to_the_one_that_stays(deduplicate, texts):
    answer = texts.some(1, 200)
    documents = [
        chat("whole", "Name a river.", answer),
        chat("copy", "Name a river.", texts.edited(answer, 1, 2)),
        chat("better", "Name a river.", texts.some(2, 400)),
    ]

    made = deduplicate([documents[:1], documents[1:2], documents[2:]], SECTION)

    rows = by_url(made, documents)
    assert {name: row["reason"] for name, row in rows.items() if row["keep"]} == {"better": ""}
    assert sorted(row["reason"] for row in rows.values()) == ["", "first_prompt", "near_duplicate"]
    assert {row["kept_id"] for row in rows.values()} == {documents[2].doc_id, None}
    assert {row["cluster_size"] for row in rows.values()} == {3}
    # The copy was compared with the one that is gone, never with the one that stays.
    copy = next(row for row in rows.values() if row["reason"] == "near_duplicate")
    assert copy["jaccard"] is copy["shared_bands"] is None
    assert {name: made.metrics[f"data/{name}"] for name in ("documents", "dropped_first_prompt", "clusters")} == {
        "documents": 1,
        "dropped_first_prompt": 1,
        "clusters": 1,
    }


@pytest.mark.parametrize("seed", range(4))
def test_it_is_what_two_rounds_by_hand_leave(deduplicate, texts, oracle, seed):
    """The oracle ranks by length and id, and removes a document near a kept one: texts first, then prompts."""
    draw = random.Random(seed)
    prompts = [texts.some(("prompt", n), draw.choice([2, 7, 40])) for n in range(8)]
    prompts += [texts.edited(prompt, n, 1) for n, prompt in enumerate(prompts) if len(prompt.split()) == 40]
    answers = [texts.some(("answer", n), draw.randrange(20, 120)) for n in range(25)]
    documents = [chat(n, draw.choice(prompts), draw.choice(answers)) for n in range(60)]
    ranked = sorted(documents, key=lambda each: (-len(each.text.encode()), each.doc_id))

    remaining = _without_near(ranked, lambda each: each.text, oracle)
    remaining = _without_near(remaining, lambda each: _prompt(each), oracle)

    for shards in (1, 3):
        made = deduplicate([documents[start::shards] for start in range(shards)], SECTION)
        assert made.kept() == {each.doc_id for each in remaining}


def test_prompts_of_an_earlier_corpus_rank_first(deduplicate, texts):
    first = [chat("first", "Name a river, please.", texts.some(1, 30))]
    second = [
        chat("second", "Name a river, please.", texts.some(2, 90)),
        chat("new", "Name a lake.", texts.some(3, 30)),
    ]
    section = DedupSection(first_prompts=True, against=["first"])

    with_prompts = deduplicate([second], section, name="second", against=[deduplicate([first], SECTION, name="first")])
    without = deduplicate([second], section, name="third", against=[deduplicate([first], name="first")])

    rows = by_url(with_prompts, second)
    assert (rows["second"]["reason"], rows["second"]["kept_id"]) == ("first_prompt", first[0].doc_id)
    assert rows["new"]["keep"]
    assert len(without.kept()) == 2


def test_the_option_is_no_part_of_results_that_do_not_use_it(deduplicate, texts):
    documents = [chat("one", "Name a river.", texts.some(1, 30))]

    assert "first_prompts" not in deduplicate([documents]).dedup.params
    assert deduplicate([documents], SECTION).dedup.params["first_prompts"] is True


def _prompt(document: Document) -> str:
    return document.text.split("\n\n")[0]


def _without_near(ranked: list[Document], text, oracle) -> list[Document]:
    remaining: list[Document] = []
    for document in ranked:
        own = oracle.shingles(text(document), 5)
        if all(oracle.jaccard(own, oracle.shingles(text(each), 5)) < 0.8 for each in remaining):
            remaining.append(document)
    return remaining
