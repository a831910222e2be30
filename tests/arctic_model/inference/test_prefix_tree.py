"""A tree has the same result for every sequence as the sequence alone, with each common prefix once."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from arctic_model.inference.cache.prefix_tree import common_length, num_rows, plant

SEQUENCES = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=7), min_size=1, max_size=6)


@given(SEQUENCES, st.integers(0, 9))
def test_each_branch_sees_itself_and_nothing_else(lists: list[list[int]], start: int) -> None:
    tree = plant([np.array(values) for values in lists], start)
    for values, path in zip(lists, tree.paths, strict=True):
        assert tree.ids[path].tolist() == values
        assert tree.positions[path].tolist() == list(range(start, start + len(values)))
        for length, row in enumerate(path, start=1):
            assert set(np.flatnonzero(tree.visible[row])) == set(path[:length])


@given(SEQUENCES)
def test_every_beginning_stands_once(lists: list[list[int]]) -> None:
    beginnings = {tuple(values[:length]) for values in lists for length in range(1, len(values) + 1)}
    sequences = [np.array(values) for values in lists]
    assert len(plant(sequences).ids) == num_rows(sequences) == len(beginnings)


def test_common_length_ends_at_the_first_difference_and_at_the_shorter_end() -> None:
    assert common_length(np.array([1, 2, 3]), np.array([1, 2, 4, 5])) == 2
    assert common_length(np.array([1, 2]), np.array([1, 2, 4])) == 2
    assert common_length(np.array([1]), np.array([2])) == 0
