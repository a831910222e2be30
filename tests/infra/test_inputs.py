"""Typed inputs: every form of a field is named, and read back from its name."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.inputs import Inputs, Node

NAMES = st.from_regex(r"[a-z][a-z0-9_-]{0,6}", fullmatch=True)


@dataclass(frozen=True)
class Documents(Inputs[Node]):
    source: Node
    filter: Node


@dataclass(frozen=True)
class All(Inputs[Node]):
    mix: Node
    documents: Documents[Node]
    tokens: Mapping[str, Node]
    corpora: Mapping[str, "Findings[Node]"] = field(default_factory=dict)
    previous: Node | None = None


@dataclass(frozen=True)
class Findings(Inputs[Node]):
    score: Node
    dedup: Node


@given(
    st.integers(),
    st.builds(Documents, st.integers(), st.integers()),
    st.dictionaries(NAMES, st.integers()),
    st.dictionaries(NAMES, st.builds(Findings, st.integers(), st.integers())),
    st.none() | st.integers(),
)
def test_inputs_are_read_back_from_their_names(mix, documents, tokens, corpora, previous):
    inputs = All(mix, documents, tokens, corpora, previous)
    assert All.of(inputs.named()) == inputs
    assert len(inputs.named()) == 3 + len(tokens) + 2 * len(corpora) + (previous is not None)


def test_names_are_those_that_manifests_record():
    inputs = All("m", Documents("s", "f"), {"web": "t"}, {"sql": Findings("x", "d")}, "p")
    assert list(inputs.named()) == ["mix", "source", "filter", "tokens:web", "score:sql", "dedup:sql", "previous"]


def test_a_missing_input_is_named():
    with pytest.raises(KeyError, match="filter"):
        All.of({"mix": 1, "source": 2})
