"""Edges, components and clusters against counting by brute force."""

import networkx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.dedup.clusters import cluster, components, first_with_same, star_edges

ROWS = st.lists(st.lists(st.integers(0, 3), min_size=3, max_size=3), max_size=14)


@given(ROWS)
def test_every_bucket_is_a_star_around_its_best(rows):
    keys = np.array(rows, dtype=np.uint64).reshape(len(rows), 3)
    expected = set()
    for band, value in {(band, row[band]) for row in rows for band in range(3)}:
        bucket = [index for index, row in enumerate(rows) if row[band] == value]
        expected |= {(index, bucket[0]) for index in bucket[1:]}
    edges = star_edges(keys)
    assert {tuple(edge) for edge in edges.tolist()} == expected and len(edges) == len(expected)


@given(st.integers(1, 20).flatmap(lambda n: st.tuples(st.just(n), st.lists(st.tuples(*[st.integers(0, n - 1)] * 2)))))
def test_components_are_named_by_their_smallest(graph):
    size, edges = graph
    oracle = networkx.Graph(edges)
    oracle.add_nodes_from(range(size))
    expected = {node: min(part) for part in networkx.connected_components(oracle) for node in part}
    found = components(size, np.array(edges, dtype=np.int64).reshape(-1, 2))
    assert found.tolist() == [expected[node] for node in range(size)]


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=12))
def test_the_first_with_the_same_digest_stands_for_all(digests):
    found = first_with_same(np.array(digests, dtype=np.uint64))
    assert found.tolist() == [digests.index(digest) for digest in digests]


def clustered(digests, keys, near: dict[tuple[int, int], float]):
    """Clusters where the Jaccard of (best, member) is given; all other pairs are far apart."""

    def verify(candidates):
        pairs = [(best, member) for best, group in candidates.items() for member in group]
        return {member: near[best, member] for best, member in pairs if (best, member) in near}

    digests = np.array([(digest, 0) for digest in digests], dtype=np.uint64)
    return cluster(digests, np.array(keys, dtype=np.uint64).reshape(len(digests), -1), verify)


def test_a_chain_is_cut_where_its_end_is_unlike_its_best():
    # 0 and 1 share a bucket, 1 and 2 another: 2 is a near duplicate of 1 only, and 1 is gone.
    found = clustered("123", [[7, 1], [7, 9], [2, 9]], {(0, 1): 0.9, (1, 2): 0.9})
    assert found.kept.tolist() == [0, 0, 2]
    assert found.jaccard.tolist() == pytest.approx([np.nan, 0.9, np.nan], nan_ok=True)
    assert found.sizes.tolist() == [2, 2, 1]
    assert (found.num_compared, found.num_rejected) == (2, 1)


def test_members_that_leave_a_cluster_are_compared_among_themselves():
    # One bucket of boilerplate: 1 is unlike 0, but 2 is a near duplicate of 1.
    found = clustered("123", [[7], [7], [7]], {(1, 2): 0.85})
    assert found.kept.tolist() == [0, 1, 1]
    assert (found.num_compared, found.num_rejected) == (3, 2)


def test_copies_follow_the_document_that_they_copy():
    # 1 and 3 are the same text, a near duplicate of 0; 4 copies 0.
    found = clustered("12321"[:3] + "21", [[7], [7], [1], [7], [7]], {(0, 1): 0.8})
    assert found.exact.tolist() == [0, 1, 2, 1, 0]
    assert found.kept.tolist() == [0, 0, 2, 0, 0]
    assert found.jaccard.tolist() == pytest.approx([np.nan, 0.8, np.nan, 0.8, 1.0], nan_ok=True)
    assert found.sizes.tolist() == [4, 4, 1, 4, 4]


def test_documents_that_share_nothing_are_never_compared():
    found = clustered("123", [[1], [2], [3]], {})
    assert found.kept.tolist() == [0, 1, 2] and found.num_compared == 0
