"""Runs and ranges against sorting, dictionaries and networkx."""

import itertools
import tempfile
from pathlib import Path

import networkx
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.dedup import index
from pipelines.dedup.index import RECORD, Unit
from pipelines.dedup.minhash import bucket_keys
from pipelines.dedup.passes.buckets import JoinRange, load_rows
from pipelines.dedup.passes.components import load_pairs

UNITS = st.lists(st.lists(st.lists(st.integers(0, 3), min_size=3, max_size=3), max_size=8), min_size=1, max_size=4)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=12))
def test_the_first_with_the_same_digest_stands_for_all(digests):
    result = index.first_with_same(np.array(digests, dtype=np.uint64))
    assert result.tolist() == [digests.index(digest) for digest in digests]


def test_ids_are_numbers_in_the_order_of_their_digits():
    ids = ["00" * 16, "00" * 15 + "01", "0f" * 16, "ff" * 16]
    numbers = index.ids_to_numbers(ids)
    assert index.numbers_to_ids(numbers) == ids
    assert np.lexsort((numbers[:, 1], numbers[:, 0])).tolist() == [0, 1, 2, 3]


@settings(deadline=None, max_examples=40)
@given(UNITS, st.integers(1, 5), st.integers(0, 2))
def test_ranges_hold_every_bucket_of_several_documents_with_a_new_one(rows, num_ranges, num_fixed):
    """Documents share a bucket if the words of a band are equal; components are those of the graph of buckets."""
    with tempfile.TemporaryDirectory() as folder:
        home, units, first = Path(folder), [], 0
        for number, documents in enumerate(rows):
            words = np.array(documents, dtype=np.uint64).reshape(-1, 3)
            index.save(home / "index" / f"{number}", np.zeros(len(words), RECORD), words)
            index.save_run(home / "runs" / f"{number:05d}", words)
            units.append(Unit(number, 0, first, number < num_fixed, home, home / "index" / f"{number}"))
            first += len(words)
        first_new = next((unit.first for unit in units if not unit.fixed), first)
        ranges = []
        for number in range(num_ranges):
            out = home / f"range-{number}"
            out.mkdir()
            JoinRange(number, num_ranges, first_new, home / "runs", units).run(out)
            ranges.append(out / "buckets" / f"{number:05d}")
        result = [(int(key), int(owner)) for stem in ranges for key, owner in zip(*load_rows(stem), strict=True)]
        everyone = np.array([document for documents in rows for document in documents], np.uint64).reshape(-1, 3)
        holders: dict[int, list[int]] = {}
        for owner, keys in enumerate(bucket_keys(everyone)):
            for key in keys.tolist():
                holders.setdefault(key, []).append(owner)
        expected = {key: owners for key, owners in holders.items() if len(owners) > 1 and max(owners) >= first_new}
        assert result == [(key, owner) for key in sorted(expected) for owner in expected[key]]
        graph = networkx.Graph()
        for number, stem in enumerate(ranges):
            edges = load_pairs(stem.parents[1], "edges", number)
            assert edges[0].tolist() == sorted({owner for _, owner in zip(*load_rows(stem), strict=True)})
            graph.add_edges_from(edges.T.tolist())
        buckets = networkx.Graph(pair for owners in expected.values() for pair in itertools.pairwise(owners))
        assert set(map(frozenset, networkx.connected_components(graph))) == set(
            map(frozenset, networkx.connected_components(buckets))
        )
