"""Identity: a key depends on the computation, and not on its location or speed."""

import itertools
import json
import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.resources import Resources
from infra.stage import Stage, canonical_json, digest, topological_order

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**9), 10**9)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def make(name="filter", subject="web", version=1, params=None, inputs=None, resources=Resources()):
    return Stage(
        name, subject, version, params or {}, inputs or {}, work=lambda context, inputs: {}, resources=resources
    )


def test_key_has_12_hex_digits_and_ignores_resources_and_work():
    stage = make(params={"min_words": 50})
    assert len(stage.key) == 12
    assert set(stage.key) <= set("0123456789abcdef")
    assert make(params={"min_words": 50}, resources=Resources(num_cpus=8)).key == stage.key


def test_the_key_ignores_what_tracking_is_told_of_models():
    plain = Stage("train", work=lambda context, inputs: {})
    assert replace(plain, model_output="checkpoint", model_input="train").key == plain.key


def test_a_stage_without_work_is_refused_when_it_is_made():
    with pytest.raises(TypeError, match="stage train: no work"):
        Stage("train")


def test_every_part_of_the_identity_changes_the_key():
    upstream = make("source")
    variants = [
        make(),
        make(name="dedup"),
        make(subject="code"),
        make(version=2),
        make(params={"min_words": 51}),
        make(inputs={"source": upstream}),
        make(inputs={"source": make("source", params={"seed": 1})}),
        make(inputs={"other": upstream}),
    ]
    assert len({stage.key for stage in variants}) == len(variants)


def test_a_change_travels_to_all_that_stand_below():
    def chain(threshold):
        source = make("source")
        filtered = make("filter", params={"threshold": threshold}, inputs={"source": source})
        return source, filtered, make("dedup", inputs={"source": source, "filter": filtered})

    before, after = chain(1), chain(2)
    assert before[0].key == after[0].key
    assert before[1].key != after[1].key
    assert before[2].key != after[2].key


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ({"a": {"b": object()}}, r"value\.a\.b is a object"),
        ({"a": [1, {2, 3}]}, r"value\.a\[1\] is a set"),
        ({"a": float("nan")}, "finite"),
        ({1: "a"}, "strings"),
        ({"f": print}, "builtin_function"),
    ],
)
def test_what_has_no_stable_text_is_refused_by_place(value, complaint):
    with pytest.raises(TypeError, match=complaint):
        canonical_json(value)


@given(PLAIN)
def test_canonical_json_reads_back_as_the_same_value(value):
    assert json.loads(canonical_json(value)) == value


@given(st.dictionaries(st.text(), st.integers(), max_size=5))
def test_order_of_fields_does_not_matter(fields):
    for shuffled in itertools.islice(itertools.permutations(fields.items()), 6):
        assert digest(dict(shuffled)) == digest(fields)


def test_keys_do_not_depend_on_the_hash_seed():
    code = "from infra.stage import digest; print(digest({'b': [1, 2.5], 'a': {'x': None, 'y': 'ü'}}))"
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("0", "1", "4242")
    }
    assert len(outputs) == 1


def test_walk_gives_inputs_first_and_each_stage_once():
    source = make("source")
    left, right = make("left", inputs={"source": source}), make("right", inputs={"source": source})
    join = make("join", inputs={"left": left, "right": right})
    assert [stage.name for stage in topological_order([join, left])] == ["source", "left", "right", "join"]
