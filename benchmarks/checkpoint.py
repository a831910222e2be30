"""How long training waits for a checkpoint: 42 million parameters on two workers, weights and two moments in float32.

Every contender writes the same 0.5 GB to the same disk, flushed. `waits` is the time that the slower worker's training
is blocked; `whole` is until the checkpoint is on disk, with training steps meanwhile if the contender allows them.

- ours: a copy of each worker's share, which a thread writes; committed with a hash of every file
- gathered: all tensors to worker 0, which writes and hashes them while training waits (how this project began)
- DCP save, DCP async_save: torch.distributed.checkpoint, each worker its share under separate names, which spares it
  planning how parts make up tensors; nothing is hashed, and metadata is pickled
- copy: the share copied once and nothing written, the minimum for any contender that continues training

The goal: ours waits no longer than the copy plus a tenth.
"""

import hashlib
import json
import multiprocessing
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from statistics import median

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from harness import arguments, machine, report
from safetensors.torch import save_file
from torch import Tensor

from arctic_model.checkpoint.reading import Retention, TrainingState
from arctic_model.checkpoint.tensors.names import is_expert
from arctic_model.presets import preset
from arctic_model.sizing.flops import count_parameters
from arctic_model.training.engine import Engine
from arctic_model.training.optimization.settings import MOMENTS, Optimization
from arctic_model.training.saving import Saver, Staging

CONFIG = replace(preset("quickstart"), hidden_size=256, num_layers=6, num_experts=16, expert_size=480)
NUM_WORKERS = 2
RESULTS = "results.json"
GOAL = "training waits at most 1.1 x a copy of the share"
Result = tuple[float, float]
"""Seconds that training waits, and seconds until the checkpoint is on disk."""


def main() -> None:
    quick = arguments(__doc__ or "").quick
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as home:
        workers = [
            context.Process(target=work, args=(rank, Path(home), 3 if quick else 10)) for rank in range(NUM_WORKERS)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        show(json.loads((Path(home) / RESULTS).read_text(encoding="utf-8")))


def show(result: dict[str, list[Result]]) -> None:
    print(machine("torch", "deepspeed", "safetensors"))
    print(f"{count_parameters(CONFIG).total:,} parameters, {NUM_WORKERS} workers, ZeRO-1, experts split\n")
    print(f"{'':16}{'waits ms':>10}{'(min-max)':>16}{'whole ms':>10}")
    waits = {}
    for name, results in result.items():
        seconds = [1000 * waited for waited, _ in results]
        waits[name] = median(seconds)
        deviation = f"{min(seconds):.0f}-{max(seconds):.0f}"
        print(f"{name:16}{waits[name]:10.0f}{deviation:>16}{1000 * median(whole for _, whole in results):10.0f}")
    ours = waits.pop("ours")
    report("checkpoint", ours, waits, "ms that training waits for a checkpoint", ours / waits["copy"], GOAL)


def work(rank: int, home: Path, repeats: int) -> None:
    """One worker: every contender once untimed, then all in turn."""
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", store=dist.FileStore(f"{home}/meet", NUM_WORKERS), rank=rank, world_size=NUM_WORKERS
    )
    settings = Optimization()
    engine = Engine(CONFIG, settings, NUM_WORKERS, 1, cross_entropy)
    step = training_step(engine)
    step()
    with Saver(engine, home / "ours", Retention(last=1)) as saver:
        saver.resume(None)
        contenders = {
            "ours": ours(saver),
            "gathered": lambda: gathered(engine, home / "gathered"),
            "DCP save": lambda: dcp_save(engine, home / "dcp"),
            "DCP async_save": dcp_async(engine, home / "dcp_async"),
            "copy": copied(engine),
        }
        result: dict[str, list[Result]] = {name: [] for name in contenders}
        for turn in range(repeats + 1):
            for name, contender in contenders.items():
                measured = measure(contender, step)
                if turn:
                    result[name].append(measured)
    if rank == 0:
        (home / RESULTS).write_text(json.dumps(result), encoding="utf-8")
    engine.close()
    dist.destroy_process_group()


def measure(contender: Callable[[], Callable[[], bool]], step: Callable[[], None]) -> Result:
    """The slower worker's times; `contender` returns when training may continue, with a handle that reports whether all
    is done."""
    dist.barrier()
    started = time.perf_counter()
    is_done = contender()
    waited = time.perf_counter() - started
    while not all_say(is_done()):
        step()
    times = torch.tensor([waited, time.perf_counter() - started])
    dist.all_reduce(times, op=dist.ReduceOp.MAX)
    return float(times[0]), float(times[1])


def ours(saver: Saver) -> Callable[[], Callable[[], bool]]:
    steps = count(1)

    def contender() -> Callable[[], bool]:
        number = next(steps)
        saver.save(TrainingState(number, 0, [], [], number, [], [], []), [])

        def is_done() -> bool:
            saver.poll()
            return saver.is_idle

        return is_done

    return contender


def gathered(engine: Engine, folder: Path) -> Callable[[], bool]:
    """DeepSpeed's and torch's own ways to a whole tensor, and files by layer."""
    if dist.get_rank() == 0:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
    layer: dict[str, Tensor] = {}
    section = ""
    for name, tensor in whole_tensors(engine):
        if name.split(".")[2] != section:
            write(layer, folder / section)
            layer, section = {}, name.split(".")[2]
        layer[name] = tensor
    write(layer, folder / section)
    dist.barrier()
    return lambda: True


def whole_tensors(engine: Engine) -> Iterator[tuple[str, Tensor]]:
    from deepspeed.utils import safe_get_full_fp32_param, safe_get_full_optimizer_state

    for name, parameter in engine.model.named_parameters():
        for kind in ("weight", *MOMENTS):
            if kind == "weight":
                tensor = safe_get_full_fp32_param(parameter).detach()
            else:
                tensor = safe_get_full_optimizer_state(parameter, kind)
            if is_expert(name):
                parts = [torch.empty_like(tensor) for _ in range(engine.group.size)]
                dist.all_gather(parts, tensor, group=engine.group.process_group)
                tensor = torch.cat(parts)
            yield f"{name}.{kind}", tensor


def write(tensors: dict[str, Tensor], file: Path) -> None:
    if tensors and dist.get_rank() == 0:
        save_file(tensors, file)
        with file.open("rb") as stream:
            hashlib.file_digest(stream, "sha256")
            os.fsync(stream.fileno())


def dcp_save(engine: Engine, folder: Path) -> Callable[[], bool]:
    dcp.save(named_share(engine), storage_writer=dcp.FileSystemWriter(folder))
    return lambda: True


def dcp_async(engine: Engine, folder: Path) -> Callable[[], Callable[[], bool]]:
    group = dist.new_group(backend="gloo")

    def contender() -> Callable[[], bool]:
        saved = dcp.async_save(named_share(engine), storage_writer=dcp.FileSystemWriter(folder), process_group=group)

        def is_done() -> bool:
            return saved.done() and saved.result() is not None

        return is_done

    return contender


def named_share(engine: Engine) -> dict[str, Tensor]:
    rank = dist.get_rank()
    return {f"{rank}.{name}.{kind}": values for name, kind, _, values in engine.parameter_slices()}


def copied(engine: Engine) -> Callable[[], Callable[[], bool]]:
    staging = Staging(engine.device)

    def contender() -> Callable[[], bool]:
        staging.copied(engine.parameter_slices())
        return lambda: True

    return contender


def all_say(done: bool) -> bool:
    votes = torch.tensor(int(done))
    dist.all_reduce(votes, op=dist.ReduceOp.MIN)
    return bool(votes)


def cross_entropy(model: torch.nn.Module, ids: Tensor, positions: Tensor, segments: Tensor) -> Tensor:
    logits = model(ids, positions, segments)
    return torch.nn.functional.cross_entropy(logits[0, :-1], ids[0, 1:])


def training_step(engine: Engine) -> Callable[[], None]:
    generator = torch.Generator().manual_seed(dist.get_rank())
    ids = torch.randint(0, CONFIG.vocab_size, (1, 128), generator=generator)
    positions = torch.arange(128)[None]

    def step() -> None:
        engine.backward(engine.forward(ids, positions, torch.zeros_like(ids)))
        engine.step(1e-4, engine.gradient_norm())

    return step


if __name__ == "__main__":
    main()
