"""Plain values come back as they were, types included, and nothing else does."""

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.sandbox.values import MAX_ELEMENTS, MAX_HASHED, PlainError, TooLargeError, decode, encode

hashable = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.integers(-(2**3000), 2**3000),
        st.floats(),
        st.complex_numbers(),
        st.text(),
        st.binary(),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3).map(tuple), st.frozensets(inner, max_size=3)),
    max_leaves=8,
)
plain = st.recursive(
    hashable,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.sets(hashable, max_size=3),
        st.dictionaries(hashable, inner, max_size=3),
    ),
    max_leaves=10,
)


def carried(value: object) -> object:
    return decode(json.loads(json.dumps(encode(value))))


@settings(max_examples=60)
@given(plain)
def test_values_come_back_with_their_types(value: object) -> None:
    # repr distinguishes 1 from 1.0 and from True, and NaN from nothing; sets are written in any order.
    assert sorted(repr(carried(value))) == sorted(repr(value))


def test_what_equality_and_order_cannot_show() -> None:
    assert math.isnan(carried(math.nan))
    assert carried(-math.inf) == -math.inf
    assert math.copysign(1, carried(-0.0)) == -1
    assert list(carried({"b": 1, "a": 2})) == ["b", "a"]
    assert carried("\ud800") == "\ud800"
    assert carried(10**5000) == 10**5000


class Everything(int):
    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = int.__hash__


@pytest.mark.parametrize(
    "value",
    [object(), Everything(1), [Everything(1)], {Everything(1): 1}, range(3), int, bytearray(b"x"), iter([])],
)
def test_anything_else_is_refused(value: object) -> None:
    with pytest.raises(PlainError, match="not plain"):
        encode(value)


def test_nesting_and_size_have_ends() -> None:
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(PlainError, match="nested too deeply"):
        encode(deep)
    with pytest.raises(PlainError, match="more than 20000"):
        encode(set(range(MAX_HASHED + 1)))


@pytest.mark.parametrize(
    "forged",
    [
        {},
        {"list": [1]},
        {"tuple": 1},
        {"set": [[1]]},
        {"dict": [1, 2]},
        {"dict": [[1], []]},
        {"int": "zz"},
        {"int": 3},
        {"complex": [1]},
        {"bytes": "0"},
        {"a": 1, "b": 2},
        {"frozenset": list(range(MAX_HASHED + 1))},
    ],
)
def test_what_no_encoder_wrote_is_refused(forged: object) -> None:
    with pytest.raises(PlainError):
        decode(forged)


COLLIDING = [{"int": hex((2**61 - 1) * key)} for key in range(1, 15_001)]
"""Keys whose hashes are all 0 in Python."""


@pytest.mark.parametrize(
    "forged",
    [
        {"set": COLLIDING},
        {"frozenset": COLLIDING},
        {"dict": [COLLIDING, [0] * len(COLLIDING)]},
        {"set": [{"tuple": [0, key]} for key in COLLIDING[:8000]]},
    ],
)
def test_keys_are_counted_over_the_whole_reply(forged: object) -> None:
    """One such set is read in seconds; a reply of a few megabytes could hold hundreds."""
    for shape in ([forged] * 200, {"tuple": [forged] * 200}, {"dict": [[1, 2], [[forged] * 3, [forged] * 3]]}):
        with pytest.raises(TooLargeError):
            decode([shape])


def test_many_small_sets_and_dicts_are_no_reason_to_refuse() -> None:
    value = [{"a": {1, 2, 3}, "b": n} for n in range(50_000)]
    assert carried(value) == value


@pytest.mark.parametrize(
    "forged",
    [
        [0] * (MAX_ELEMENTS + 1),
        [[0] * (MAX_ELEMENTS // 4)] * 5,
        {"tuple": [{"dict": [[1], [[[]] * (MAX_ELEMENTS // 2)]]}] * 3},
        [{"int": "0x" + "f" * 2_000_000}] * 9,
    ],
)
def test_elements_are_counted_over_the_whole_reply(forged: object) -> None:
    with pytest.raises(TooLargeError, match=f"more than {MAX_ELEMENTS} elements"):
        decode(forged)
