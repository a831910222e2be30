"""A continuation whose token melts into the context costs its own item at most: every other item is scored."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from infra.context import StageContext
from infra.store.journal import Journal
from pipelines.evaluate.engine.encoding import encode_pair, encode_pairs
from pipelines.evaluate.engine.requests import Likelihood, LogLikelihood
from pipelines.evaluate.evaluation import evaluate
from pipelines.evaluate.notes import flaws_of, note
from pipelines.evaluate.task import Item, Share, Verdict

BEGIN = 10**6
LETTERS = "ab:\n é"


@dataclass
class Codec:
    """A tokenizer that joins across every boundary of its texts, as one does that never splits them before it
    merges."""

    tokenizer: Tokenizer
    prefix_id: int = BEGIN
    end_ids: frozenset[int] = frozenset({BEGIN})
    template: str | None = None

    def encode(self, text: str, *, begin: bool = True, marks: bool = False) -> list[int]:
        return [BEGIN] * begin + self.tokenizer.encode(text).ids

    def decode(self, ids: Sequence[int]) -> str:
        return self.tokenizer.decode(ids)


@pytest.fixture(scope="module")
def codec() -> Codec:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=600, initial_alphabet=alphabet, show_progress=False)
    texts = [f"{one}{two}{three}" for one in LETTERS for two in LETTERS for three in LETTERS] * 3
    tokenizer.train_from_iterator([*texts, *["Reply: b"] * 30], trainer)
    return Codec(tokenizer)


@given(text=st.text(LETTERS, min_size=1, max_size=12), data=st.data())
def test_every_continuation_of_a_character_or_more_has_ids(codec: Codec, text: str, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(text) - 1))
    pair = encode_pair(codec, LogLikelihood(text[:cut], text[cut:]))
    assert pair.continuation
    if pair.encoded == "together":
        before = codec.encode(text[:cut].rstrip()) if text[:cut].rstrip() else []
        whole = codec.encode(text, begin=bool(before))
        assert pair.continuation == whole[len(before) :]
    else:
        # The text that is encoded alone is the whole continuation with its leading blanks.
        rest = text[len(text[:cut].rstrip()) :]
        assert codec.decode(pair.continuation) == rest


@given(text=st.text(LETTERS, min_size=2, max_size=8), cuts=st.lists(st.integers(0, 7), min_size=1, max_size=6))
def test_requests_of_a_question_are_encoded_as_each_alone(codec: Codec, text: str, cuts: list[int]) -> None:
    question = [LogLikelihood(text[:cut], ending) for cut in cuts for ending in (text[cut:], "", " b")]
    assert encode_pairs(codec, question) == [encode_pair(codec, request) for request in question]


def test_both_ways_occur(codec: Codec) -> None:
    asked = LogLikelihood("Reply:", " b"), LogLikelihood("Reply:", " é é é"), LogLikelihood("Reply:", "")
    assert [encode_pair(codec, request).encoded for request in asked] == ["alone", "together", "not"]
    assert codec.decode(encode_pair(codec, asked[0]).continuation) == " b"


@dataclass
class Choice:
    """Right if the first continuation is the most probable one."""

    name: str
    asked: list[Item] = field(default_factory=list)
    headline: str = "acc"
    protocol: str = "by hand"
    files: tuple[str, ...] = ()
    runs: str = ""

    def items(self) -> list[Item]:
        return self.asked

    def score(self, items: Sequence[Item], answers: Sequence[Sequence[Likelihood]]) -> list[Verdict]:
        right = [float(provided[0] == max(provided)) for provided in answers]
        return [Verdict({"acc": Share(part, 1.0)}, "", "correct" if part else "wrong") for part in right]


def test_an_item_without_ids_is_left_out_and_the_others_are_scored(tmp_path) -> None:
    def ask(questions: Sequence[Sequence[LogLikelihood]]) -> list[list[Likelihood]]:
        existing = {
            " yes": Likelihood(-1.0, True, 0),
            " b": Likelihood(-2.0, False, 0, "alone"),
            "": Likelihood(-float("inf"), False, 0, "not"),
        }
        return [[existing[request.continuation] for request in question] for question in questions]

    def items(name: str, *endings: tuple[str, ...]) -> list[Item]:
        return [
            Item(f"{name}/{n}", tuple(LogLikelihood("Q:", ending) for ending in pair), "")
            for n, pair in enumerate(endings)
        ]

    mixed = items("mixed", (" yes", " b"), (" yes", ""), (" b", " yes"))
    whole = items("whole", (" yes", " b"))
    empty = items("empty", ("", " yes"))
    selected = [(Choice(result[0].item_id.partition("/")[0]), result) for result in (mixed, whole, empty)]
    context = StageContext("evaluate", tmp_path, tmp_path, lambda event: None)
    with Journal(tmp_path / "items.jsonl") as journal:
        results = evaluate(
            selected, ask([item.requests for _, result in selected for item in result]), journal, context
        )
    assert {result.name: [item.item_id for item in result.items] for result in results} == {
        "mixed": ["mixed/0", "mixed/2"],
        "whole": ["whole/0"],
    }
    assert [verdict.reason for result in results for verdict in result.verdicts] == ["correct", "wrong", "correct"]
    flaws = flaws_of(mixed, ask([item.requests for item in mixed]))
    assert (flaws.num_encoded_alone, flaws.num_left_out) == (2, 1)
    assert "2 of 3 questions have a continuation" in note(flaws)
    assert "1 of 3 questions are left out" in note(flaws)
