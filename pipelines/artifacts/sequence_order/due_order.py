"""The corpus at each position of a phase: the one whose next sequence has the earliest deadline.

Corpus c is to give `budgets[c]` of a phase's N sequences. Its rate moves linearly from `initial[c]` at the start to 2 *
budgets[c] - initial[c] at the end (both in sequences per N positions; equal if nothing drifts), so that its quota of
the first P positions is the integral

    Q(P) = P * (N * initial + (budget - initial) * P) / N**2,    Q(N) = budget.

Sequence j of the corpus becomes ready when Q passes j, and is due before Q reaches j + 1. Each position takes the
sequence that is due first (ties to the first corpus). The quotas of all corpora sum to P, so all windows can be met,
and earliest deadline first meets them (Baruah et al. 1996, "Proportionate progress"): at every prefix each corpus is
less than one sequence from its quota, and exact at the end. Taking the corpus most behind instead strays by more than
one from some nine corpora on. All in integers; floats only guess where to look.
"""

import math
from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from typing import Any

import numpy as np

BLOCK = 8192
"""Positions between two rows of the seek table: the maximum that is computed to enter a phase at any position."""
WORTH_COMPILING = 3_000_000
"""Positions from which compiling the walk (a second or two, if none did before) is faster than interpreting it."""
MAX_POSITIONS = math.isqrt(2**63 - 1)
"""Above this N, N**2 overflows an int64."""

Seek = tuple[tuple[int, ...], ...]


class DueOrder:
    """The order of one phase, entered anywhere through `seek`, the table of `seek_table`."""

    def __init__(self, budgets: Sequence[int], initial: Sequence[int], seek: Seek) -> None:
        self._budgets, self._initial = cycle(budgets, initial)
        self._length = sum(self._budgets)
        self._seek = np.array(seek, dtype=np.int64)
        self._latest: tuple[int, np.ndarray, np.ndarray] | None = None

    def window(self, start: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """For positions start .. start + count - 1, int64 each: the corpus, and its count before the position."""
        corpora, before = np.empty(count, dtype=np.int64), np.empty(count, dtype=np.int64)
        done = 0
        while done < count:
            turn, offset = divmod(start + done, self._length)
            block, inside = divmod(offset, BLOCK)
            block_corpora, found_before = (column[inside : inside + count - done] for column in self._block(block))
            part = slice(done, done + len(block_corpora))
            corpora[part] = block_corpora
            before[part] = found_before + turn * np.array(self._budgets)[block_corpora]
            done += len(block_corpora)
        return corpora, before

    def taken(self, position: int) -> np.ndarray:
        """int64: the count of each corpus before `position`."""
        turn, offset = divmod(position, self._length)
        block, inside = divmod(offset, BLOCK)
        budgets = np.array(self._budgets, dtype=np.int64)
        here = np.bincount(self._block(block)[0][:inside], minlength=len(budgets))
        positions: np.ndarray = turn * budgets + self._seek[block] + here
        return positions

    def position_of(self, corpus: int, number: int) -> int:
        """Position of sequence `number` (from 0) of a corpus."""
        turn, number = divmod(number, self._budgets[corpus])
        block = int(np.searchsorted(self._seek[:, corpus], number, side="right")) - 1
        mine = np.flatnonzero(self._block(block)[0] == corpus)
        return turn * self._length + block * BLOCK + int(mine[number - self._seek[block, corpus]])

    def _block(self, block: int) -> tuple[np.ndarray, np.ndarray]:
        latest = self._latest
        if latest is None or latest[0] != block:
            length = min(BLOCK, self._length - block * BLOCK)
            taken = self._seek[block].tolist()
            latest = block, *earliest_due(self._budgets, self._initial, taken, block * BLOCK, length)
            self._latest = latest
        return latest[1:]


def seek_table(budgets: Sequence[int], initial: Sequence[int] | None = None) -> Seek:
    """The counts of each corpus before every BLOCK-th position of the cycle, in memory of one block.

    Raises ValueError if the phase is too long.
    """
    if sum(budgets) > MAX_POSITIONS:
        raise ValueError(f"a phase of {sum(budgets)} sequences: up to {MAX_POSITIONS} can be ordered. Split the phase.")
    budgets, initial = cycle(budgets, initial or budgets)
    total = sum(budgets)
    walk = _walk if total < WORTH_COMPILING else _compiled_walk()
    taken = np.zeros(len(budgets), dtype=np.int64)
    table = []
    for start in range(0, total, BLOCK):
        table.append(tuple(taken.tolist()))
        corpora = _corpora_in_turn(walk, budgets, initial, table[-1], start, min(BLOCK, total - start))
        taken += np.bincount(corpora, minlength=len(budgets))
    return tuple(table)


def earliest_due(
    budgets: Sequence[int], initial: Sequence[int], taken: Sequence[int], start: int, length: int
) -> tuple[np.ndarray, np.ndarray]:
    """Apply the rule from position `start` on, with counts `taken[c]` before it.

    Returns int64 [length] each: the corpus of each position, and that corpus' count before the position.
    """
    corpora = _corpora_in_turn(_walk, budgets, initial, taken, start, length)
    before = np.empty(length, dtype=np.int64)
    for corpus, count in enumerate(taken):
        mine = np.flatnonzero(corpora == corpus)
        before[mine] = np.arange(count, count + len(mine))
    return corpora, before


def cycle(budgets: Sequence[int], initial: Sequence[int]) -> tuple[list[int], list[int]]:
    """Budgets and initial rates after which the order repeats: without drift, the budgets divided by their common
    divisor and multiplied to fill a block; else those of the phase."""
    if list(budgets) != list(initial):
        return list(budgets), list(initial)
    divisor = math.gcd(*budgets)
    turns = min(divisor, -(-BLOCK * divisor // sum(budgets)))
    whole = [budget // divisor * turns for budget in budgets]
    return whole, whole


def first_reaching(budget: int, initial: int, total: int, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each of `counts` (int64, <= budget): the first prefix P with Q(P) >= count, and whether Q(P) = count."""
    drift = budget - initial
    if drift == 0:
        reached = -(-counts * total // budget)
        return reached, reached * budget == counts * total
    root = np.sqrt(np.maximum(0.0, float(initial) ** 2 + 4.0 * drift * counts))
    guess = total * 2.0 * counts / np.maximum(initial + root, 1e-300)
    reached = np.minimum(guess, total).astype(np.int64)
    while (early := (reached > 0) & (_quota(reached - 1, drift, initial, total)[0] >= counts * total)).any():
        reached[early] -= 1
    while (late := _quota(reached, drift, initial, total)[0] < counts * total).any():
        reached[late] += 1
    whole, rest = _quota(reached, drift, initial, total)
    return reached, (whole == counts * total) & (rest == 0)


def window_of(budget: int, initial: int, total: int, number: int) -> tuple[int, int]:
    """(first, last) position that sequence `number` of a corpus may take, without a walk."""
    (opened, due), (met, _) = first_reaching(budget, initial, total, np.array([number, number + 1]))
    return int(opened - 1 + met), int(due) - 1


def _quota(prefix: np.ndarray, drift: int, initial: int, total: int) -> tuple[np.ndarray, np.ndarray]:
    """Q(prefix) * N as a whole number and N-ths: the slope is divided by N first, so that no product exceeds N**2."""
    slope, slope_rest = np.divmod(drift * prefix, total)
    whole, rest = np.divmod(prefix * slope_rest, total)
    return prefix * (initial + slope) + whole, rest


def _corpora_in_turn(
    walk: Callable[[Any, Any, int, np.ndarray], None],
    budgets: Sequence[int],
    initial: Sequence[int],
    taken: Sequence[int],
    start: int,
    length: int,
) -> np.ndarray:
    """The corpus of each position: every ready sequence is ranked by (due, corpus), then taken in order."""
    total, stop = sum(budgets), start + length
    opens, due, corpora = [], [], []
    for corpus, (budget, rate, count) in enumerate(zip(budgets, initial, taken, strict=True)):
        opened = -(-stop * (total * rate + (budget - rate) * stop) // total**2)
        if opened > count:
            reached, met = first_reaching(budget, rate, total, np.arange(count, opened + 1))
            opens.append(reached[:-1] - 1 + met[:-1])
            due.append(reached[1:])
            corpora.append(np.full(opened - count, corpus))
    corpus_of = np.concatenate(corpora)
    by_due = np.argsort(np.concatenate(due) * len(budgets) + corpus_of)
    opening = np.concatenate(opens)[by_due]
    by_opening = np.argsort(opening, kind="stable")
    walked = np.empty(length, dtype=np.int64)
    walk(by_opening, opening[by_opening], start, walked)
    return corpus_of[by_due][walked]


def _walk(ranks: np.ndarray, opening: np.ndarray, start: int, corpora: np.ndarray) -> None:
    """Fill `chosen` with the lowest rank that is open at each position and was not chosen before."""
    order, opens = ranks.tolist(), [*opening.tolist(), start + len(corpora)]
    heap: list[int] = []
    walked = []
    following = 0
    for position in range(start, start + len(corpora)):
        while opens[following] <= position:
            heappush(heap, order[following])
            following += 1
        walked.append(heappop(heap))
    corpora[:] = walked


def _compiled_walk() -> Callable[[Any, Any, int, np.ndarray], None]:
    from pipelines.artifacts.sequence_order.compiled_walk import walk

    compiled: Callable[[Any, Any, int, np.ndarray], None] = walk
    return compiled
