"""One worker of the tests of saving: `saving_worker.py RANK WORLD RENDEZVOUS HOME JOBS`, JOBS being a JSON file.

A job has an arrangement (`zero`, `experts`, `dtype`, `optimizer`) and an action `do`, with its other arguments. No job
trains: every value of weights and optimizer state is set, and follows from its parameter, kind and position.
"""

import errno
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from arctic_model.checkpoint import reading as checkpoint
from arctic_model.checkpoint import writing as checkpoint_writer
from arctic_model.checkpoint.errors import CheckpointError
from arctic_model.checkpoint.reading import Retention, TrainingState, checkpoints
from arctic_model.presets import preset
from arctic_model.training.engine import Engine
from arctic_model.training.optimization.settings import Optimization
from arctic_model.training.saving import Saver

CONFIG = preset("tiny", {"router_bias": True})
NUM_FILES = 11
"""Of a checkpoint of this model: four of weights, four of the optimizer, and the three that describe them."""
LIMIT_S = 1.5
"""Of a collective on a slow disk: three times the maximum time of a worker to answer the others."""


def main() -> None:
    rank, world = int(sys.argv[1]), int(sys.argv[2])
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{sys.argv[3]}", rank=rank, world_size=world)
    for number, job in enumerate(json.loads(Path(sys.argv[5]).read_text(encoding="utf-8"))):
        settings = Optimization(
            optimizer=job.get("optimizer", "adamw"),
            engine=job.get("engine", "deepspeed"),
            zero_stage=job["zero"],
            shard_group_size=job.get("shards", 0),
            dtype=job.get("dtype", "float32"),
        )
        engine = Engine(CONFIG, settings, job["experts"], 1, lambda model: model)
        answer = DO[job["do"]](engine, Path(sys.argv[4]) / job["folder"])
        (Path(sys.argv[4]) / f"{number}-of-{rank}.json").write_text(json.dumps(answer), encoding="utf-8")
        engine.close()
        dist.barrier()
    dist.destroy_process_group()


def values(name: str, kind: str, locations: Tensor) -> Tensor:
    """Values at `places` of a flat parameter; all differ, and bfloat16 would round them."""
    return (locations + 1000.0 * len(kind) + 7 * sum(map(ord, name))) / 3


def fill(engine: Engine, change: float = 0.0) -> None:
    with torch.no_grad():
        for name, kind, start, own in engine.parameter_slices():
            own.copy_(values(name, kind, torch.arange(start, start + own.numel())) + change)


def state(step: int) -> TrainingState:
    return TrainingState(step, step, [[0.5]], [[1.0]], step, [1.5], [], [2.0])


def save(engine: Engine, folder: Path) -> None:
    fill(engine)
    with Saver(engine, folder, Retention()) as saver:
        saver.resume(None)
        saver.save(state(3), [])


def load(engine: Engine, folder: Path, limit_s: float = 600.0) -> list[str]:
    """Parameters with wrong values after loading, of the share and of the weights in use."""
    with Saver(engine, folder, Retention(), limit_s) as saver:
        result, _ = saver.resume(None)
    wrong = [] if result == state(3) else [str(result)]
    for name, kind, start, own in engine.parameter_slices():
        if not torch.equal(own, values(name, kind, torch.arange(start, start + own.numel()))):
            wrong.append(f"{name} {kind}")
    if engine._settings.zero_stage == 3:
        # Parameters hold values in front of a layer's forward and backward only.
        for bucket in engine._backend._buckets:
            bucket.gather()
            bucket.finish_gather()
    for name, parameter in [*engine.model.named_parameters(), *engine.model.named_buffers()]:
        first = engine.group.rank * parameter.numel() if ".experts." in name else 0
        expected = values(name, "weight", torch.arange(first, first + parameter.numel()))
        if not torch.equal(parameter.view(-1), expected.to(parameter.dtype)):
            wrong.append(f"{name} in use")
    return wrong


def change_meanwhile(engine: Engine, folder: Path) -> list:
    """Weights change while the checkpoint is on its way; which checkpoints there are meanwhile and afterwards."""
    may_write = threading.Event()
    write = checkpoint_writer.write_slices

    def held(*arguments: object) -> int:
        may_write.wait()
        return write(*arguments)

    checkpoint_writer.write_slices = held
    try:
        fill(engine)
        with Saver(engine, folder, Retention()) as saver:
            saver.resume(None)
            saver.save(state(3), [{"step": 3}])
            fill(engine, change=1.0)
            saver.poll()
            before = len(checkpoints(folder / "checkpoints"))
            may_write.set()
            committed = str(saver.last_good())
    finally:
        checkpoint_writer.write_slices = write
    return [before, committed]


def fail(engine: Engine, folder: Path) -> list[str]:
    """The disk of the last worker is full at the second checkpoint; the error of each worker, and the remaining
    files."""
    write = checkpoint_writer.write_slices
    fill(engine)
    try:
        with Saver(engine, folder, Retention()) as saver:
            saver.resume(None)
            saver.save(state(3), [{"step": 3}])
            saver.last_good()
            if dist.get_rank() == dist.get_world_size() - 1:
                checkpoint_writer.write_slices = full
            saver.save(state(4), [{"step": 4}])
            while True:
                saver.poll()
    except (OSError, CheckpointError) as error:
        raised = str(error)
    finally:
        checkpoint_writer.write_slices = write
    return [raised, *(result.name for result in checkpoints(folder / "checkpoints"))]


def slow_disk(engine: Engine, folder: Path) -> list:
    """The last worker's disk takes longer than the limit of a collective for each of two files that are written and of
    two that are hashed, and is never blocked for as long. Wrong values after loading, and the files that this worker
    hashed on resuming."""
    last = dist.get_rank() == dist.get_world_size() - 1
    write, hashed = checkpoint_writer.write_slices, checkpoint.file_sha256
    names: list[str] = []
    crawls = iter(2 * [crawl])

    def slow(file: Path, pieces: list, progress: Any, header: bytes = b"") -> int:
        next(crawls, at_once)(progress)
        return write(file, pieces, progress, header)

    def watched(file: Path, progress: Any) -> str:
        names.append(file.name)
        if last:
            next(crawls, at_once)(progress)
        return hashed(file, progress)

    if last:
        checkpoint_writer.write_slices = slow
    try:
        fill(engine)
        with Saver(engine, folder, Retention(), LIMIT_S) as saver:
            saver.resume(None)
            saver.save(state(3), [])
        checkpoint.file_sha256, crawls = watched, iter(2 * [crawl])
        return [load(engine, folder, LIMIT_S), names]
    finally:
        checkpoint_writer.write_slices, checkpoint.file_sha256 = write, hashed


def at_once(progress: Any) -> None: ...


def crawl(progress: Any) -> None:
    for _ in range(3):
        time.sleep(0.6 * LIMIT_S)
        progress.update()


def hung_disk(engine: Engine, folder: Path) -> str:
    """The last worker's disk blocks in the middle of a file; the error of each worker on resuming."""
    save(engine, folder)
    chunks = checkpoint._chunks

    def hung(file: Path) -> Iterator[memoryview]:
        yield from chunks(file)
        time.sleep(6 * LIMIT_S)

    if dist.get_rank() == dist.get_world_size() - 1:
        checkpoint._chunks = hung
    try:
        load(engine, folder, LIMIT_S)
    except CheckpointError as error:
        return f"{type(error).__name__}: {error}"
    finally:
        checkpoint._chunks = chunks
    return "nobody noticed"


def damaged(engine: Engine, folder: Path) -> list:
    """One byte of each file in turn is changed in the newer of two checkpoints, and in both. The step that each worker
    resumes from, or its error."""
    answers: list = []
    for number in range(NUM_FILES):
        home = folder / str(number)
        fill(engine)
        with Saver(engine, home, Retention()) as saver:
            saver.resume(None)
            saver.save(state(3), [])
            saver.save(state(4), [])
        for result in reversed(checkpoints(home / "checkpoints")):
            if dist.get_rank() == 0:
                flip(sorted(result.iterdir())[number])
            dist.barrier()
            try:
                with Saver(engine, home, Retention()) as saver:
                    resumed, _ = saver.resume(None)
                answers.append(resumed and resumed.step)
            except CheckpointError as error:
                answers.append(str(error))
            dist.barrier()
    return answers


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def full(file: Path, *_: object) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(file))


DO: dict[str, Callable] = {"save": save, "load": load, "change_meanwhile": change_meanwhile, "fail": fail}
DO |= {"slow_disk": slow_disk, "hung_disk": hung_disk, "damaged": damaged}

if __name__ == "__main__":
    main()
