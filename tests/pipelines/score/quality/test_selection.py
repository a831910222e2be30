"""Documents of a corpus by the labels that a model gave them."""

import pyarrow as pa
import pytest

from pipelines.score.quality.corpora import Selection


@pytest.mark.parametrize(
    ("selection", "chosen"),
    [
        ("web:a.score>=3", [False, True, False, True]),
        ("web:a.score<=2", [True, False, False, False]),
        ("web:a.is_new=true", [True, False, False, False]),
        ("web:a.topic=x=y", [False, True, False, False]),
    ],
)
def test_a_selection_compares_labels(selection, chosen):
    labels = [
        {"score": 2, "is_new": True, "topic": "x"},
        {"score": 3, "is_new": False, "topic": "x=y"},
        None,
        {"score": 9, "is_new": False, "topic": "z"},
    ]
    assert Selection.parse(selection).has(pa.chunked_array([labels])).to_pylist() == chosen
