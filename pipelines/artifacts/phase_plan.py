"""The plan of one curriculum phase: which sequence stands at which position, by arithmetic.

A plan is a few numbers. Sequence j of a corpus with budget b, of N in all, may stand from position N j / b on and is
due before N (j + 1) / b; each position takes the one that is due first (ties to the first corpus by name). So at
every prefix each corpus is less than one sequence from its share, and exact at the end (Baruah et al. 1996,
"Proportionate progress": earliest deadline first keeps every such window). Taking the corpus most behind instead
strays by more than one from some nine corpora on. Inside a corpus the order is a keyed Feistel permutation, a new
one each epoch. Nothing is drawn, nothing is replayed: the sequences of step s follow from the plan and s, for any
number of workers.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

PLAN = "plan.json"
BLOCK = 65_536
"""Positions between two rows of the seek table."""
WORTH_COMPILING = 3_000_000
"""Positions x corpora from which compiling the rule (about a second) takes less time than interpreting it."""
FEISTEL_ROUNDS = 4


@dataclass(frozen=True)
class CorpusShare:
    """One corpus in one phase, in sequences: `budget` of this phase, `start` = all that earlier phases took,
    `available` = sequences of the corpus."""

    corpus: str
    budget: int
    start: int
    available: int


@dataclass(frozen=True)
class PhasePlan:
    """One phase. `shares` are sorted by corpus name; `seek[i][c]` counts corpus c before position i * BLOCK."""

    phase: str
    sequence_length: int
    seed: int
    shares: tuple[CorpusShare, ...]
    seek: tuple[tuple[int, ...], ...]

    @property
    def num_sequences(self) -> int:
        return sum(share.budget for share in self.shares)

    @property
    def num_tokens(self) -> int:
        return self.num_sequences * self.sequence_length

    def sequences(self, start: int, count: int) -> Iterator[tuple[str, int]]:
        """(corpus, sequence number in the corpus) for positions start .. start + count - 1. Raises IndexError."""
        stop = start + count
        if not 0 <= start <= stop <= self.num_sequences:
            raise IndexError(f"phase {self.phase}: positions {start} .. {stop} of {self.num_sequences}")
        while start < stop:
            chosen, before = self._block(start // BLOCK)
            inside = slice(start % BLOCK, start % BLOCK + stop - start)
            for corpus, taken in zip(chosen[inside].tolist(), before[inside].tolist(), strict=True):
                share = self.shares[corpus]
                yield share.corpus, self._permuted(share, share.start + taken)
            start += len(chosen[inside])

    def write(self, folder: Path) -> None:
        (folder / PLAN).write_text(json.dumps(asdict(self), indent=1, sort_keys=True), encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> "PhasePlan":
        fields = json.loads((folder / PLAN).read_text(encoding="utf-8"))
        fields["shares"] = tuple(CorpusShare(**share) for share in fields["shares"])
        fields["seek"] = tuple(tuple(row) for row in fields["seek"])
        return cls(**fields)

    @cached_property
    def _latest_block(self) -> dict[int, tuple[np.ndarray, np.ndarray]]:
        return {}

    def _block(self, block: int) -> tuple[np.ndarray, np.ndarray]:
        """For each position of a block: index of its corpus, and how many of that corpus stand before it."""
        if block not in self._latest_block:
            self._latest_block.clear()
            length = min(BLOCK, self.num_sequences - block * BLOCK)
            budgets = [share.budget for share in self.shares]
            self._latest_block[block] = earliest_due(budgets, self.seek[block], block * BLOCK, length)
        return self._latest_block[block]

    def _permuted(self, share: CorpusShare, drawn: int) -> int:
        epoch, index = divmod(drawn, share.available)
        return permute(index, share.available, f"{self.seed}/{share.corpus}/{epoch}")


def earliest_due(
    budgets: Sequence[int], counts: Sequence[int], start: int, length: int
) -> tuple[np.ndarray, np.ndarray]:
    """The rule from position `start` on, where corpus c has taken `counts[c]` before.

    Returns int64 [length] each: the corpus of each position, and that corpus' count before the position.
    """
    scan, vector = _scanner(length * len(budgets))
    chosen = np.empty(length, dtype=np.int64)
    scan(vector(budgets), vector(counts), start, chosen)
    before = np.empty(length, dtype=np.int64)
    for corpus, count in enumerate(counts):
        mine = np.flatnonzero(chosen == corpus)
        before[mine] = np.arange(count, count + len(mine))
    return chosen, before


def seek_table(budgets: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """What each corpus has taken before every BLOCK-th position, in memory of one block."""
    total = sum(budgets)
    scan, vector = _scanner(total * len(budgets))
    taken = vector([0] * len(budgets))
    table = []
    for start in range(0, total, BLOCK):
        table.append(tuple(int(count) for count in taken))
        scan(vector(budgets), taken, start, np.empty(min(BLOCK, total - start), dtype=np.int64))
    return tuple(table)


def permute(index: int, size: int, key: str) -> int:
    """Image of `index` under a keyed permutation of 0 .. size - 1: a balanced Feistel network on the next even
    number of bits, walked until it lands inside (Black and Rogaway 2002, section 3: cycle walking)."""
    if size == 1:
        return 0
    half_bits = max(1, -(-(size - 1).bit_length() // 2))
    mask = (1 << half_bits) - 1
    round_keys = _round_keys(key)
    value = index
    while True:
        left, right = value >> half_bits, value & mask
        for round_key in round_keys:
            left, right = right, left ^ (_mix(right ^ round_key) & mask)
        value = left << half_bits | right
        if value < size:
            return value


@lru_cache(maxsize=1024)
def _round_keys(key: str) -> tuple[int, ...]:
    block = hashlib.sha256(key.encode()).digest()
    return tuple(int.from_bytes(block[8 * i : 8 * i + 8]) for i in range(FEISTEL_ROUNDS))


def _mix(value: int) -> int:
    """The 64-bit finaliser of SplitMix64 (Steele, Lea, Flood 2014)."""
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
    value = (value ^ value >> 27) * 0x94D049BB133111EB & 0xFFFFFFFFFFFFFFFF
    return value ^ value >> 31


def _scan(budgets: Any, taken: Any, start: int, chosen: np.ndarray) -> None:
    """Fill `chosen` by the rule; `taken` is counted on. Lists when interpreted, int64 arrays when compiled."""
    total = 0
    for budget in budgets:
        total += budget
    for offset in range(len(chosen)):
        position = start + offset + 1
        best, best_due = -1, 0
        for corpus in range(len(budgets)):
            budget = budgets[corpus]
            if budget * position > total * taken[corpus]:
                due = (total * (taken[corpus] + 1) + budget - 1) // budget
                if best < 0 or due < best_due:
                    best, best_due = corpus, due
        chosen[offset] = best
        taken[best] += 1


def _scanner(picks: int) -> tuple[Callable[[Any, Any, int, np.ndarray], None], Callable[[Sequence[int]], Any]]:
    """The rule, interpreted or compiled, and the kind of vector it takes, for `picks` = positions x corpora."""
    return (_scan, list) if picks < WORTH_COMPILING else (_compiled_scan(), np.array)


@lru_cache(maxsize=1)
def _compiled_scan() -> Callable[[Any, Any, int, np.ndarray], None]:
    from numba import njit

    return njit(_scan)
