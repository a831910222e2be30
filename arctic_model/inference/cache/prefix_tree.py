"""Sequences with common beginnings as one tree: every shared id is read once.

All leaves are computed in one pass, under a mask by which each id sees its own branch only (Cai et al. 2024, arXiv
2401.10774, section 2.1.2, use it to verify guesses).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Tree(NamedTuple):
    """`ids` and `positions` int64 [T]; `visible` bool [T, T], row = query; `paths`: for each sequence the row of each
    of its ids."""

    ids: np.ndarray
    positions: np.ndarray
    visible: np.ndarray
    paths: list[np.ndarray]


def plant(sequences: Sequence[np.ndarray], start: int = 0) -> Tree:
    """The tree of `sequences`, int64; their first id has position `start`.

    A sequence branches off the earlier one that shares its longest prefix, ties to the first.
    """
    paths: list[np.ndarray] = []
    new_rows: list[np.ndarray] = []
    num_rows = 0
    for number, sequence in enumerate(sequences):
        common = [common_length(sequence, other) for other in sequences[:number]]
        shared = max(common, default=0)
        trunk = paths[common.index(shared)][:shared] if shared else np.empty(0, dtype=np.int64)
        new = np.arange(num_rows, num_rows + len(sequence) - shared)
        paths.append(np.concatenate([trunk, new]))
        new_rows.append(new)
        num_rows += len(new)
    ids, positions = np.empty(num_rows, dtype=np.int64), np.empty(num_rows, dtype=np.int64)
    visible = np.zeros((num_rows, num_rows), dtype=bool)
    for sequence, path, new in zip(sequences, paths, new_rows, strict=True):
        shared = len(path) - len(new)
        ids[new] = sequence[shared:]
        positions[new] = start + np.arange(shared, len(path))
        visible[np.ix_(new, path)] = np.tri(len(new), len(path), shared, dtype=bool)
    return Tree(ids, positions, visible, paths)


def num_rows(sequences: Sequence[np.ndarray]) -> int:
    """Ids in the tree of `sequences`."""
    shared = [max((common_length(one, other) for other in sequences[:n]), default=0) for n, one in enumerate(sequences)]
    return sum(map(len, sequences)) - sum(shared)


def common_length(first: np.ndarray, second: np.ndarray) -> int:
    """How many ids two sequences have in common from their beginning."""
    length = min(len(first), len(second))
    differs = first[:length] != second[:length]
    return int(differs.argmax()) if differs.any() else length
