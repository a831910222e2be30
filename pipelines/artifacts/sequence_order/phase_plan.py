"""The plan of one curriculum phase: the sequence at each position, by arithmetic.

    plan.json               the numbers: budgets, seed, seek table
    copies/<corpus>.npy     int64: repeats of sequences 0 .. i in one pass, summed; only if some sequence repeats
    ranked/<corpus>.npy     int64: sequence of each draw of the phase; only if the order is by a score
    amended/<position>/     the same for the rest of the phase from a position on, for each amendment of its weights

`due_order` decides the corpus of each position. Inside a corpus, draws are counted on from phase to phase: draw d is
number d % available of pass d // available, and a keyed permutation, a new one each pass, turns it into a sequence.
Nothing is drawn at random, nothing is replayed: the sequences of any step follow from the plan and the step's number,
for any number of workers. The state of reading is (the plan's key, position).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from infra.store.integrity import read_committed, require_intact
from pipelines.artifacts.formats.arrays import load_array
from pipelines.artifacts.sequence_order.due_order import BLOCK, DueOrder, Seek, seek_table
from pipelines.artifacts.sequence_order.permutation import permute

__all__ = ["CorpusShare", "PhaseOrder", "PhasePlan", "PlanPart", "mixture", "part_folder", "seek_table"]

PLAN, AMENDED = "plan.json", "amended"
EMPTY = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)


@dataclass(frozen=True)
class CorpusShare:
    """One corpus in one phase, in sequences: `budget` of this phase, `start` = all that earlier phases took,
    `available` = sequences of one pass, repeats counted, `initial` = the budget at the phase's initial rate; None if
    the rate is constant. `sequence_length`: of the sequences that are counted, if the phase does not read the corpus
    and has others."""

    corpus: str
    budget: int
    start: int
    available: int
    initial: int | None = None
    sequence_length: int | None = None

    @property
    def initial_rate(self) -> int:
        return self.budget if self.initial is None else self.initial


def mixture(shares: Sequence[CorpusShare], points: Sequence[float] | np.ndarray) -> np.ndarray:
    """float64 [points, corpora]: each corpus' share of the tokens read at these points, 0 start to 1 end."""
    rates = np.array([[share.initial_rate, share.budget] for share in shares], dtype=np.float64)
    initial, mean = rates.T / rates[:, 1].sum()
    weights: np.ndarray = initial + np.multiply.outer(np.asarray(points), 2 * (mean - initial))
    return weights


@dataclass(frozen=True)
class PhasePlan:
    """One phase. `shares` are sorted by corpus name; `seek` is the table of `due_order`; `copies` and `ranked` are the
    files of these names by corpus."""

    phase: str
    sequence_length: int
    seed: int
    shares: tuple[CorpusShare, ...]
    seek: Seek
    copies: Mapping[str, np.ndarray] = field(default_factory=dict, compare=False, repr=False)
    ranked: Mapping[str, np.ndarray] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def of(cls, phase: str, sequence_length: int, seed: int, shares: tuple[CorpusShare, ...]) -> "PhasePlan":
        """The plan of these shares, its seek table walked."""
        seek = seek_table([share.budget for share in shares], [share.initial_rate for share in shares])
        return cls(phase, sequence_length, seed, shares, seek)

    @property
    def num_sequences(self) -> int:
        return sum(share.budget for share in self.shares)

    @property
    def num_tokens(self) -> int:
        return self.num_sequences * self.sequence_length

    def sequences(self, start: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """For positions start .. start + count - 1, int64 each: index of the corpus in `shares`, and number of the
        sequence in the corpus. Raises IndexError."""
        if not 0 <= start <= start + count <= self.num_sequences:
            raise IndexError(f"phase {self.phase}: positions {start} .. {start + count} of {self.num_sequences}")
        blocks = [self._block(block) for block in range(start // BLOCK, -(-(start + count) // BLOCK))]
        skipped = start - start // BLOCK * BLOCK
        window = slice(skipped, skipped + count)
        if len(blocks) == 1:
            return blocks[0][0][window], blocks[0][1][window]
        corpora, sequences = (np.concatenate(column)[window] for column in zip(EMPTY, *blocks, strict=True))
        return corpora, sequences

    def taken(self, position: int) -> dict[str, int]:
        """Sequences of each corpus, counted from the first phase on, that are read before `position`."""
        here = self._order.taken(position)
        return {share.corpus: share.start + int(count) for share, count in zip(self.shares, here, strict=True)}

    def read_shares(self, position: int) -> tuple[CorpusShare, ...]:
        """`shares` with the sequences that are read before `position` as their budgets."""
        if position == self.num_sequences:
            return self.shares
        taken = self.taken(position)
        return tuple(replace(each, budget=taken[each.corpus] - each.start, initial=None) for each in self.shares)

    def position_of(self, corpus: str, draw: int) -> int:
        """Position in this phase of draw number `draw` of a corpus, counted from the first phase on."""
        index = [share.corpus for share in self.shares].index(corpus)
        return self._order.position_of(index, draw - self.shares[index].start)

    def ordered_by(self, corpus: str, values: np.ndarray) -> np.ndarray:
        """The file `ranked` of a corpus: this phase's draws, each pass by ascending `values` (one a sequence)."""
        share = next(share for share in self.shares if share.corpus == corpus)
        draws = np.arange(share.start, share.start + share.budget)
        sequences = self._drawn(share, draws)
        return sequences[np.lexsort((sequences, values[sequences], draws // share.available))]

    def write(self, folder: Path) -> None:
        numbers = asdict(replace(self, copies={}, ranked={}))
        del numbers["copies"], numbers["ranked"]
        for share in numbers["shares"]:
            if share["sequence_length"] is None:
                del share["sequence_length"]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / PLAN).write_text(json.dumps(numbers, indent=1, sort_keys=True), encoding="utf-8")
        for kind in ("copies", "ranked"):
            for corpus, column in getattr(self, kind).items():
                (folder / kind).mkdir(exist_ok=True)
                np.save(folder / kind / f"{corpus}.npy", column)

    @classmethod
    def read(cls, folder: Path) -> "PhasePlan":
        """The plan in `folder`; its files are mapped, not loaded."""
        numbers = json.loads(read_committed(folder / PLAN))
        numbers["shares"] = tuple(CorpusShare(**share) for share in numbers["shares"])
        numbers["seek"] = tuple(tuple(row) for row in numbers["seek"])
        return cls(**numbers, copies=_columns(folder / "copies"), ranked=_columns(folder / "ranked"))

    @cached_property
    def _order(self) -> DueOrder:
        budgets, initial = zip(*((share.budget, share.initial_rate) for share in self.shares), strict=True)
        return DueOrder(budgets, initial, self.seek)

    def _block(self, block: int) -> tuple[np.ndarray, np.ndarray]:
        """`sequences` of the positions from block * BLOCK on. The latest block is cached: steps are read one after
        another, and permuting many draws costs about as much as a few."""
        latest = self._latest.get("block")
        if latest is None or latest[0] != block:
            start = block * BLOCK
            corpora, before = self._order.window(start, min(BLOCK, self.num_sequences - start))
            sequences = np.empty_like(before)
            for index in np.unique(corpora):
                mine = np.flatnonzero(corpora == index)
                share = self.shares[index]
                sequences[mine] = self._drawn(share, share.start + before[mine])
            latest = self._latest["block"] = block, corpora, sequences
        return latest[1:]

    @cached_property
    def _latest(self) -> dict[str, tuple[int, np.ndarray, np.ndarray]]:
        return {}

    def _drawn(self, share: CorpusShare, draws: np.ndarray) -> np.ndarray:
        """The sequence of each draw."""
        if share.corpus in self.ranked:
            sequences: np.ndarray = self.ranked[share.corpus][draws - share.start]
            return sequences
        passes, numbers = np.divmod(draws, share.available)
        sequences = np.empty_like(numbers)
        for number in np.unique(passes):
            mine = passes == number
            sequences[mine] = permute(numbers[mine], share.available, f"{self.seed}/{share.corpus}/{number}")
        if share.corpus in self.copies:
            sequences = np.searchsorted(self.copies[share.corpus], sequences, side="right")
        return sequences


@dataclass(frozen=True)
class PlanPart:
    """The plan in `folder`, which holds from `first_position` of its phase on for `num_sequences`."""

    folder: Path
    first_position: int
    num_sequences: int
    plan: PhasePlan

    @cached_property
    def read(self) -> tuple[CorpusShare, ...]:
        """The shares of the plan, with the sequences that are read as their budgets."""
        return self.plan.read_shares(self.num_sequences)

    def mixture(self) -> np.ndarray:
        """float64 [2, corpora]: each corpus' share of the tokens at the start of the part and at its end."""
        return mixture(self.plan.shares, [0.0, self.num_sequences / self.plan.num_sequences])


@dataclass(frozen=True)
class PhaseOrder:
    """A whole phase: one part, and one more for each amendment of its weights."""

    parts: tuple[PlanPart, ...]

    @classmethod
    def read(cls, folder: Path) -> "PhaseOrder":
        """The order in the artifact at `folder`."""
        rests = sorted((folder / AMENDED).iterdir()) if (folder / AMENDED).is_dir() else []
        plans = [(0, folder, PhasePlan.read(folder)), *((int(rest.name), rest, PhasePlan.read(rest)) for rest in rests)]
        ends = [*(first for first, _, _ in plans[1:]), plans[-1][0] + plans[-1][2].num_sequences]
        return cls(
            tuple(PlanPart(at, first, end - first, plan) for (first, at, plan), end in zip(plans, ends, strict=True))
        )

    @property
    def phase(self) -> str:
        """Name of the phase."""
        return self.parts[0].plan.phase

    @property
    def sequence_length(self) -> int:
        return self.parts[0].plan.sequence_length

    @property
    def num_sequences(self) -> int:
        return sum(part.num_sequences for part in self.parts)

    @property
    def num_tokens(self) -> int:
        return self.num_sequences * self.sequence_length

    @property
    def budgets(self) -> dict[str, int]:
        """Sequences that the phase reads of each corpus."""
        budgets: dict[str, int] = {}
        for part in self.parts:
            for share in part.read:
                budgets[share.corpus] = budgets.get(share.corpus, 0) + share.budget
        return budgets

    @property
    def read_shares(self) -> tuple[CorpusShare, ...]:
        """The number of sequences of each corpus that all parts have read at the end: the next phase continues from
        there.
        """
        return self.parts[-1].read

    def at(self, position: int) -> PlanPart:
        """The part that `position` of the phase is in."""
        return next(part for part in reversed(self.parts) if part.first_position <= position)


def part_folder(folder: Path, first_position: int) -> Path:
    """Folder in `folder` of the plan that holds from a position on."""
    return folder / AMENDED / f"{first_position:012d}" if first_position else folder


def _columns(folder: Path) -> dict[str, np.ndarray]:
    files = sorted(folder.glob("*.npy"))
    for file in files:
        require_intact(file)
    return {file.stem: load_array(file) for file in files}
