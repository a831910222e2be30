"""The inner loops over embeddings, compiled by numba for the types that they are first called with."""

import numpy as np

from arctic_model.machine_code import compiler

compiled = compiler(nogil=True)


@compiled
def sum_rows(ids, starts, table, sums):  # type: ignore[no-untyped-def]
    """Add the rows of int32 `table` [V, D] that `ids` name to int64 `sums` [texts, D]: ids `starts[n]` to below
    `starts[n + 1]` are those of text n."""
    for text in range(len(sums)):
        for position in range(starts[text], starts[text + 1]):
            row = table[ids[position]]
            for column in range(table.shape[1]):
                sums[text, column] += row[column]


@compiled
def first_kept(starts, near, fixed, heirs, evidence):  # type: ignore[no-untyped-def]
    """Decide on documents in order of rank: one is removed for the best-ranked kept document that is near to it.

    `near` [pairs]: the documents before document n that are near to it, ascending, are those from `starts[n]` to below
    `starts[n + 1]`; `fixed` [documents]: kept whatever is near. Filled: int64 `heirs` [documents]: the representative
    of each, itself if it is kept; int64 `evidence` [documents]: the pair that removed it, -1 for none.
    """
    for document in range(len(heirs)):
        heirs[document] = document
        evidence[document] = -1
        if fixed[document]:
            continue
        for pair in range(starts[document], starts[document + 1]):
            if heirs[near[pair]] == near[pair]:
                heirs[document] = near[pair]
                evidence[document] = pair
                break


def sums_of_rows(ids: np.ndarray, counts: np.ndarray, table: np.ndarray) -> np.ndarray:
    """int64 [texts, D]: the sum of the rows of `table` for the ids of each text, `counts` of them."""
    sums = np.zeros((len(counts), table.shape[1]), np.int64)
    sum_rows(ids, np.append(0, np.cumsum(counts)), table, sums)
    return sums
