"""The plan of one curriculum phase: which sequence stands at which position, by arithmetic.

A plan is a few numbers. The next sequence comes from the corpus most behind its budget (ties to the first by
name), so that at every prefix each corpus is at most one sequence from its share, and exact at the end. Inside a
corpus the order is a keyed Feistel permutation, a new one each epoch. Nothing is drawn, nothing is replayed: the
sequences of step s follow from the plan and s, for any number of workers.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

PLAN = "plan.json"
BLOCK = 65_536
"""Positions between two rows of the seek table."""
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
        """(corpus, sequence number in the corpus) for positions start .. start + count - 1."""
        for position in range(start, start + count):
            chosen, before = self._block(position // BLOCK)
            offset = position % BLOCK
            share = self.shares[chosen[offset]]
            yield share.corpus, self._permuted(share, share.start + int(before[offset]))

    def write(self, folder: Path) -> None:
        (folder / PLAN).write_text(json.dumps(asdict(self), indent=1, sort_keys=True), encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> "PhasePlan":
        fields = json.loads((folder / PLAN).read_text(encoding="utf-8"))
        fields["shares"] = tuple(CorpusShare(**share) for share in fields["shares"])
        fields["seek"] = tuple(tuple(row) for row in fields["seek"])
        return cls(**fields)

    @lru_cache(maxsize=4)  # noqa: B019 - plans live as long as their process
    def _block(self, block: int) -> tuple[np.ndarray, np.ndarray]:
        """For each position of a block: index of its corpus, and how many of that corpus stand before it."""
        length = min(BLOCK, self.num_sequences - block * BLOCK)
        return most_behind([share.budget for share in self.shares], list(self.seek[block]), block * BLOCK, length)

    def _permuted(self, share: CorpusShare, drawn: int) -> int:
        epoch, index = divmod(drawn, share.available)
        return permute(index, share.available, f"{self.seed}/{share.corpus}/{epoch}")


def most_behind(budgets: list[int], counts: list[int], start: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """The rule, in integers: position p goes to the corpus with the largest budget * (p + 1) - total * taken.

    `counts` is what each corpus has taken before `start`. Returns for each of `length` positions the corpus index
    and that corpus' count before the position.
    """
    total = sum(budgets)
    taken = list(counts)
    chosen = np.empty(length, dtype=np.int64)
    before = np.empty(length, dtype=np.int64)
    corpora = range(len(budgets))
    for offset in range(length):
        position = start + offset + 1
        corpus = max(corpora, key=lambda c: (budgets[c] * position - total * taken[c], -c))
        chosen[offset], before[offset] = corpus, taken[corpus]
        taken[corpus] += 1
    return chosen, before


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
