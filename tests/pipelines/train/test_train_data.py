"""The data of workers: the same global batches for any number of workers and threads, from any step on; nothing is lost
or read twice when corpora come and go between phases."""

import threading
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from arctic_model.presets import preset
from arctic_model.training.optimization.schedule import Schedule
from arctic_model.training.optimization.settings import Optimization
from arctic_model.training.spikes import SpikePolicy
from pipelines.artifacts.sequence_order.phase_plan import CorpusShare, PhasePlan
from pipelines.artifacts.tokenization.tokens import PIECES, TokensIndex, write_token_shard
from pipelines.train.data import PhaseBatches, Prefetched
from pipelines.train.job import CheckpointPolicy, Segment, TrainJob, WorkerGroup

COLUMNS = ("ids", "positions", "segments", "targets")
LENGTH, BATCH, CODES = 8, 8, {"code": 1000, "sql": 2000, "web": 3000}


def write_corpus(folder: Path, code: int, sequences: int) -> None:
    """Sequence n begins with the id code + n."""
    pieces = {
        "sequence": np.arange(sequences),
        "start": np.zeros(sequences),
        "length": np.full(sequences, LENGTH + 1),
        "doc_id": [str(number) for number in range(sequences)],
        "doc_start": np.zeros(sequences),
        "doc_row": np.arange(sequences),
    }
    ids = np.tile(np.arange(LENGTH + 1, dtype=np.uint16), (sequences, 1))
    ids[:, 0] = code + np.arange(sequences)
    write_token_shard(ids, pa.table(pieces).cast(PIECES), folder, "train", 0)
    TokensIndex(LENGTH, "uint16", 4000, 0, 1, {"train": [sequences]}, {}, {}).write(folder)


@dataclass
class Reading:
    """Corpora in `home`, and phases over them."""

    home: Path
    sizes: dict[str, int]

    def __post_init__(self) -> None:
        for corpus, size in self.sizes.items():
            write_corpus(self.home / corpus, CODES[corpus], size)

    def job(self, plan: PhasePlan, first_step: int = 0) -> TrainJob:
        folder = self.home / plan.phase
        folder.mkdir(exist_ok=True)
        plan.write(folder)
        return TrainJob(
            config=preset("tiny", {"vocab_size": 4000}),
            group=WorkerGroup(),
            checkpoints=CheckpointPolicy(),
            segments=(
                Segment(
                    first_step,
                    first_step + plan.num_sequences // BATCH,
                    first_step * BATCH * LENGTH,
                    *(BATCH, 1),
                    *(Optimization(), Schedule(1.0), SpikePolicy(), folder),
                ),
            ),
            sequence_length=LENGTH,
            tokens={corpus: self.home / corpus for corpus in self.sizes},
            folder=folder,
        )


def first_ids(batches: list) -> list[int]:
    return [int(batch.ids[0, 0]) for batch in batches]


def global_batch(job: TrainJob, world: int, step: int) -> list[int]:
    return [ids for rank in range(world) for ids in first_ids(PhaseBatches(job, rank, world)(step))]


@pytest.fixture
def long_phase(tmp_path: Path) -> TrainJob:
    """2,000 steps over three corpora, with a drift, entered after step 500 of the run."""
    shares = (
        CorpusShare("code", 5000, 100, 400, initial=2000),
        CorpusShare("sql", 1000, 0, 300, initial=2000),
        CorpusShare("web", 10_000, 50, 700, initial=12_000),
    )
    return Reading(tmp_path, {"code": 400, "sql": 300, "web": 700}).job(PhasePlan.of("long", LENGTH, 3, shares), 500)


@pytest.mark.parametrize("world", [2, *(pytest.param(world, marks=pytest.mark.slow) for world in (4, 8))])
def test_the_next_thousand_global_batches_are_those_of_one_worker(long_phase: TrainJob, world: int) -> None:
    after_kill = 1000
    alone = PhaseBatches(long_phase, 0, 1)
    workers = [PhaseBatches(long_phase, rank, world) for rank in range(world)]
    for step in range(after_kill + 1, after_kill + 1001):
        assert [ids for worker in workers for ids in first_ids(worker(step))] == first_ids(alone(step))


@pytest.mark.parametrize(("world", "size"), [(2, 2), (4, 2), (4, 4)])
def test_workers_that_share_sequences_read_them_once(long_phase: TrainJob, world: int, size: int) -> None:
    """Each has the same sequences as its neighbours and tokens of its own, as many from the front as from the back."""
    shared = replace(long_phase, group=replace(long_phase.group, context_parallel_size=size))
    alone = PhaseBatches(long_phase, 0, 1)(501)
    read = [PhaseBatches(shared, rank, world)(501) for rank in range(world)]
    for number in range(BATCH):
        group, row = divmod(number, BATCH * size // world)
        parts = [passes[row] for passes in read[group * size : (group + 1) * size]]
        halves = [[half for part in parts for half in [getattr(part, name).chunk(2, dim=1)]] for name in COLUMNS]
        for name, pairs in zip(COLUMNS, halves, strict=True):
            whole = torch.cat([first for first, _ in pairs] + [second for _, second in reversed(pairs)], dim=1)
            assert torch.equal(whole, getattr(alone[number], name))
        assert all(torch.equal(part.corpora, alone[number].corpora) for part in parts)


@pytest.mark.parametrize("world", [1, 2, 4, 8])
def test_what_is_read_is_what_the_plan_says(long_phase: TrainJob, world: int) -> None:
    plan = PhasePlan.read(long_phase.segments[0].mix)
    corpora, sequences = plan.sequences(1234 * BATCH, BATCH)
    codes = [CODES[plan.shares[corpus].corpus] for corpus in corpora]
    assert global_batch(long_phase, world, 501 + 1234) == (np.array(codes) + sequences).tolist()


def test_what_was_read_of_each_corpus_follows_from_the_position(long_phase: TrainJob) -> None:
    plan = PhasePlan.read(long_phase.segments[0].mix)
    corpora, _ = plan.sequences(0, 16_000)
    for position in (0, 1, 4097, 9999, 16_000):
        read = np.bincount(corpora[:position], minlength=3)
        expected = {share.corpus: share.start + count for share, count in zip(plan.shares, read.tolist(), strict=True)}
        assert plan.taken(position) == expected


@pytest.mark.parametrize(("threads", "ahead"), [(1, 1), (1, 4), (3, 5)])
def test_prefetched_batches_are_those_of_no_thread(long_phase: TrainJob, threads: int, ahead: int) -> None:
    plain = PhaseBatches(long_phase, 1, 2)
    expected = {step: first_ids(plain(step)) for step in range(2440, 2501)}
    with Prefetched(PhaseBatches(long_phase, 1, 2), long_phase.last_step, threads, ahead) as batches:
        assert {step: first_ids(batches(step)) for step in range(2440, 2501)} == expected
        # a jump, as after a restart from a checkpoint
        assert first_ids(batches(2450)) == expected[2450]
        assert first_ids(batches(2451)) == expected[2451]


def test_prefetching_reads_no_step_beyond_the_last_and_few_ahead() -> None:
    asked, opened = [], threading.Event()

    def batches(step: int) -> list:
        asked.append(step)
        if step == 4:
            opened.set()
        return [step]

    with Prefetched(batches, last_step=4, ahead=2) as prefetched:
        assert prefetched(1) == [1]
        assert set(asked) <= {1, 2, 3}
        assert prefetched(2) == [2]
        assert opened.wait(10)
        assert [prefetched(3), prefetched(4)] == [[3], [4]]
    assert asked == [1, 2, 3, 4]


def test_an_error_is_raised_at_its_own_step_and_the_threads_end() -> None:
    def batches(step: int) -> list:
        if step == 3:
            raise OSError(f"step {step} cannot be read")
        return [step]

    with pytest.raises(OSError, match="step 3 cannot be read"), Prefetched(batches, last_step=9) as prefetched:
        assert [prefetched(1), prefetched(2)] == [[1], [2]]
        prefetched(3)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("batches")]


def test_corpora_that_come_and_go_repeat_nothing_and_lose_nothing(tmp_path: Path) -> None:
    sizes = {"code": 48, "sql": 16, "web": 80}
    reading = Reading(tmp_path, sizes)
    phases = [  # budgets of code, sql and web; sql comes in the second, web goes and returns
        {"code": 16, "web": 48},
        {"code": 24, "sql": 8},
        {"code": 8, "sql": 8, "web": 32},
        {"code": 24, "sql": 16},
    ]
    taken, record, step = dict.fromkeys(sizes, 0), [], 0
    for number, budgets in enumerate(phases):
        shares = tuple(CorpusShare(name, budgets.get(name, 0), taken[name], sizes[name]) for name in sorted(sizes))
        job = reading.job(PhasePlan.of(f"phase-{number}", LENGTH, 1, shares), step)
        for step in range(job.first_step + 1, job.last_step + 1):
            record += global_batch(job, (1, 2, 4)[step % 3], step)
        taken = {share.corpus: share.start + share.budget for share in shares}
        if number == 2:
            # one whole pass over everything: each sequence once
            everything = [CODES[name] + sequence for name, size in sizes.items() for sequence in range(size)]
            assert sorted(record) == sorted(everything)
    times = Counter(record)
    assert Counter(times[CODES["code"] + sequence] for sequence in range(48)) == {1: 24, 2: 24}
    assert Counter(times[CODES["sql"] + sequence] for sequence in range(16)) == {2: 16}
    assert Counter(times[CODES["web"] + sequence] for sequence in range(80)) == {1: 80}
