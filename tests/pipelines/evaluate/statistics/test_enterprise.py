"""Enterprise intelligence against Snowflake's formula and simulation."""

from collections.abc import Sequence

import numpy as np
import pytest

from pipelines.evaluate.statistics.enterprise import (
    GOLD,
    PARTS,
    enterprise_bits_per_byte,
    enterprise_intelligence,
    enterprise_sets,
)
from pipelines.evaluate.task import Share

CODE, MBPP, SPIDER = ("humaneval_plus", "pass@1"), ("mbpp_plus", "pass@1"), ("spider", "execution_accuracy")
PROMPT, INSTRUCTION = ("ifeval", "prompt_strict"), ("ifeval", "instruction_strict")
PLAIN = {name: name for name in ("humaneval_plus", "mbpp_plus", "spider", "ifeval")}
BASE = {name: f"{name}-base" for name in PLAIN}


def rights(values: Sequence[float]) -> list[Share]:
    return [Share(float(value), 1.0) for value in values]


def test_it_is_the_published_formula() -> None:
    # the four published parts of the released Arctic: coding 64.3, Spider 78.9, IFEval 52.4, and 65.2 in all
    shares = {
        CODE: [Share(64.3, 100)],
        MBPP: [Share(64.3, 100)],
        SPIDER: [Share(78.9, 100)],
        PROMPT: [Share(52.4, 100)],
        INSTRUCTION: [Share(52.4, 100)],
    }
    result = enterprise_intelligence(shares, PLAIN)
    assert result is not None
    assert 100 * result.value == pytest.approx(65.2)
    assert (result.low, result.high) == (None, None), "one unit each"
    assert sum(PARTS.values()) == pytest.approx(1.0)


@pytest.mark.parametrize("missing", [CODE, SPIDER, INSTRUCTION])
def test_without_a_part_there_is_no_mean(missing: tuple[str, str]) -> None:
    shares = {name: rights([0, 1]) for name in PARTS if name != missing}
    assert enterprise_intelligence(shares, PLAIN) is None


def test_its_interval_covers_the_truth_as_often_as_it_says() -> None:
    draw = np.random.default_rng(0)
    hits = 0
    for _ in range(200):
        # a prompt is followed if all of its instructions are
        followed = draw.random((150, 2)) < draw.choice([0.9, 0.2], size=150)[:, None]
        shares = {
            CODE: rights(draw.random(164) < 0.3),
            MBPP: rights(draw.random(378) < 0.4),
            SPIDER: rights(draw.random(300) < 0.6),
            PROMPT: rights(followed.all(axis=1)),
            INSTRUCTION: [Share(float(row.sum()), 2.0) for row in followed],
        }
        result = enterprise_intelligence(shares, PLAIN)
        assert result is not None
        prompt = (0.9**2 + 0.2**2) / 2
        truth = ((0.3 + 0.4) / 2 + 0.6 + (prompt + 0.55) / 2) / 3
        hits += result.low <= truth <= result.high
    assert 0.9 < hits / 200 < 0.99


def test_bits_per_byte_count_code_sql_and_maths_once_each() -> None:
    bits = {"humaneval_plus": 1.0, "mbpp_plus": 2.0, "spider": 3.0, "gsm8k": 4.0}
    shares = {(task, GOLD): [Share(10 * value, 10.0), Share(20 * value, 20.0)] * 3 for task, value in bits.items()}
    result = enterprise_bits_per_byte(shares)
    assert result is not None
    assert result.value == pytest.approx((1.5 + 3.0 + 4.0) / 3)
    assert result.low == pytest.approx(result.high)
    del shares[("gsm8k", GOLD)]
    assert enterprise_bits_per_byte(shares) is None


def test_variants_stand_for_their_benchmark_if_all_were_asked_in_one_form() -> None:
    chat, base = dict.fromkeys(PLAIN, "chat"), dict.fromkeys(BASE.values(), "base")
    assert enterprise_sets(chat) == enterprise_sets(dict.fromkeys(PLAIN, "base")) == {"enterprise_intelligence": PLAIN}
    assert enterprise_sets(base) == {"enterprise_intelligence": BASE}
    assert enterprise_sets(chat | {"spider": "base"}) == {}, "one was asked otherwise"
    assert enterprise_sets(chat | base) == {"enterprise_intelligence": PLAIN, "enterprise_intelligence-base": BASE}
    mixed = {"humaneval_plus-base": "base", "mbpp_plus-base-20_samples": "base", "spider": "base", "ifeval": "base"}
    assert enterprise_sets(mixed | {"spider-3_shot": "base", "gsm8k": "base", "spiders": "base"}) == {
        "enterprise_intelligence": dict(zip(PLAIN, mixed, strict=True))
    }


def test_variants_give_the_same_mean_as_plain_names() -> None:
    shares = {name: rights([0, 1, 1]) for name in PARTS}
    renamed = {(f"{task}-base", measure): values for (task, measure), values in shares.items()}
    assert enterprise_intelligence(renamed, BASE) == enterprise_intelligence(shares, PLAIN)
    gold = {(task, GOLD): [Share(10.0, 10.0)] * 3 for task in ("humaneval_plus-base", "mbpp_plus", "spider", "gsm8k")}
    result = enterprise_bits_per_byte(gold)
    assert result is not None and result.value == 1.0
