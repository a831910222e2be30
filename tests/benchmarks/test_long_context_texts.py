"""The texts of benchmarks/long_context.py can be answered from themselves, and files that judge are not in training."""

import importlib
import random
import re
from pathlib import Path
from types import ModuleType

import pytest

from pipelines.artifacts.tokenization.tokenizer import TextTokenizer
from tests.kit.tokenizers import write_byte_tokenizer

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def texts(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("long_context_texts")


@pytest.mark.parametrize("num_tokens", [400, 1000, 3000])
def test_what_a_distant_note_asks_for_stands_before_and_fits(texts: ModuleType, tmp_path: Path, num_tokens: int):
    write_byte_tokenizer(tmp_path)
    tokenizer = TextTokenizer(tmp_path)
    for seed in range(40):
        text = texts.distant_note(random.Random(seed), num_tokens, tokenizer)
        assert len(tokenizer.encode(text)) <= num_tokens
        numbers = re.findall(r"\d+", text)
        # The last number is that of a question; each number is stated as often as its statement says, and asked once.
        assert all(2 <= numbers.count(number) <= 3 for number in numbers)
        assert text.rstrip(".").endswith(numbers[-1])


@pytest.mark.parametrize("kind", ["repeated_names", "repeated_numbers", "repeated_words"])
def test_repetitions_follow_their_own_beginning(texts: ModuleType, kind: str):
    periods = []
    for seed in range(40):
        words = getattr(texts, kind)(random.Random(seed), 900, 30).split(" ")[:-1]
        periods.append(next(size for size in range(1, len(words)) if words[size:] == words[:-size]))
    assert max(periods) <= 30
    assert min(periods) < 5 < 25 < max(periods)


def test_files_that_judge_are_not_in_training(texts: ModuleType):
    judged, trained = texts.library(held_out=True).files, texts.library(held_out=False).files
    assert judged and not set(filter(None, judged)) & set(trained)
