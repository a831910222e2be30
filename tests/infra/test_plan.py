"""Why a stage is built: the fields in which its parameters differ from those of the result before."""

from infra.plan import changed_fields


def test_values_differ_field_by_field_and_lists_of_other_lengths_as_a_whole() -> None:
    before = {"phases": [{"tokens": 1}, {"tokens": 2}], "names": ["a"], "same": {"x": None}}
    after = {"phases": ({"tokens": 1}, {"tokens": 3}), "names": ["a", "b"], "same": {"x": None}, "new": True}
    assert list(changed_fields(before, after)) == [
        ("phases.2.tokens", 2, 3),
        ("names", ["a"], ["a", "b"]),
        ("new", None, True),
    ]
