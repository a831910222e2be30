"""Spread one stage's shards over the cluster, each finished shard committed on its own."""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from infra.budget import StoppedError, stop_if_asked
from infra.context import STOP, StageContext
from infra.resources import Demand
from infra.resources.capacity import Capacity, Wait
from infra.stage import digest
from infra.store import file_digest, link_or_copy, rename_durably, write_durably

Descriptor = TypeVar("Descriptor")
RESULT = "shard.json"
POLL_S = 1.0
"""Between two looks at the size of the cluster while no shard is finished."""


@dataclass(frozen=True)
class ShardResult:
    """The results of a shard besides its files: plain metrics, and the records it set aside.

    Example:
        >>> from infra import ShardResult
        >>> ShardResult({"documents": 3}, [{"origin": "page 4", "reason": "not UTF-8"}]).metrics
        {'documents': 3}
    """

    metrics: Mapping[str, Any] = field(default_factory=dict)
    quarantined: list[Mapping[str, str]] = field(default_factory=list)


ShardWork = Callable[[Descriptor, Path], ShardResult | Mapping[str, Any]]
"""Writes files under a folder; returns plain metrics, or a ShardResult if records were set aside."""


def map_shards(
    context: StageContext,
    work: ShardWork[Descriptor],
    shards: Sequence[Descriptor],
    *,
    keys: Sequence[str] | None = None,
    part: str = "",
    unit: str = "shards",
    num_cpus: float = 1.0,
    preemptions: int = 20,
) -> list[ShardResult]:
    """Run `work(shard, folder)` for every shard and move the files it wrote into `context.out`.

    Results are in the order of `shards`. A shard that was finished by an earlier attempt is not done again. Workers
    that die are replaced up to `preemptions` times a shard; an exception of `work` fails the stage, finished shards
    stay. File names are the work's own, so they carry the shard's number.

    `keys` name the inputs of each shard (`shard_key`). With them, a shard that another result of this stage has is
    taken from there, so that a changed input costs the shards it touches. `part` names one of several fan-outs of a
    stage: a folder of `context.state`.

    Raises StoppedError before the next shard if the stage is asked to stop.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from infra import StageContext, map_shards
        >>> def square(number, folder):
        ...     (folder / f"{number}.txt").write_text(str(number**2))
        ...     return {"square": number**2}
        >>> out, state = Path(tempfile.mkdtemp()), Path(tempfile.mkdtemp())
        >>> context = StageContext("squares", out, state, emit=lambda event: None)
        >>> [result.metrics["square"] for result in map_shards(context, square, [1, 2, 3])]
        [1, 4, 9]
        >>> sorted(file.name for file in out.iterdir())
        ['1.txt', '2.txt', '3.txt']
    """
    home = _home(context, part)
    home.mkdir(parents=True, exist_ok=True)
    for leftover in home.glob(".*"):
        shutil.rmtree(leftover, ignore_errors=True)
    folders = [_folder(home, index) for index in range(len(shards))]
    _adopt(context, keys or [], folders)
    todo = [index for index, folder in enumerate(folders) if not folder.exists()]
    context.progress(len(shards) - len(todo), len(shards), unit)

    def finished(count: int) -> None:
        context.progress(len(shards) - len(todo) + count, len(shards), unit)

    if context.parallel:
        post = _poster(work, shards, folders, context.state / STOP, num_cpus, preemptions)
        _run_on_cluster(context, home, post, todo, Demand(1, num_cpus), finished)
    else:
        for count, index in enumerate(todo):
            stop_if_asked(context, len(todo) - count)
            _commit_shard(work, shards[index], folders[index])
            finished(count + 1)
    results = [_collect(folder, context.out) for folder in folders]
    for result in results:
        context.quarantined.extend(result.quarantined)
    for key, folder, result in zip(keys or [], folders, results, strict=False):
        context.shards[key] = {"files": _files(folder), **asdict(result)}
    return results


def forget_shards(context: StageContext, numbers: Sequence[int]) -> None:
    """Have the next attempt of this stage repeat these shards; their results in this attempt stay."""
    for number in numbers:
        context.discard(_folder(_home(context), number))


def shard_key(number: int, params: object, *digests: str) -> str:
    """The key of shard `number`, which its files are named by, made with `params` (plain data) from these inputs."""
    return digest({"number": number, "params": params, "digests": list(digests)})


def _home(context: StageContext, part: str = "") -> Path:
    """Folder of the finished shards of a fan-out, and of the scratch of those that are begun."""
    return context.state / part / "shards"


def _folder(home: Path, number: int) -> Path:
    """Folder of shard `number` once it is finished."""
    return home / f"{number:06d}"


def _adopt(context: StageContext, keys: Sequence[str], folders: Sequence[Path]) -> None:
    """Link the shards that other results of this stage have under the same key."""
    missing = {key: folder for key, folder in zip(keys, folders, strict=False) if not folder.exists()}
    for artifact in context.siblings() if missing else ():
        for key in missing.keys() & artifact.manifest.shards.keys():
            shard = dict(artifact.manifest.shards[key])
            files = [artifact.path / file for file in shard.pop("files")]
            if all(file.is_file() and file_digest(file) == artifact.digest(file) for file in files):
                _commit_shard(partial(_link, artifact.path, files), ShardResult(**shard), missing.pop(key))
                context.shards_reused += 1


def _link(home: Path, files: Sequence[Path], result: ShardResult, folder: Path) -> ShardResult:
    for file in files:
        target = folder / file.relative_to(home)
        target.parent.mkdir(parents=True, exist_ok=True)
        link_or_copy(file, target)
    return result


def _poster(
    work: ShardWork[Descriptor],
    shards: Sequence[Descriptor],
    folders: Sequence[Path],
    stop: Path,
    num_cpus: float,
    preemptions: int,
) -> Callable[[int], Any]:
    """Posts the shard of an index to Ray and returns the reference of its task."""
    import ray

    task: Any = ray.remote(_commit_shard).options(num_cpus=num_cpus, max_retries=preemptions, retry_exceptions=False)
    return lambda index: task.remote(work, shards[index], folders[index], stop)


def _run_on_cluster(
    context: StageContext,
    home: Path,
    post: Callable[[int], Any],
    todo: Sequence[int],
    demand: Demand,
    finished: Callable[[int], None],
) -> None:
    import ray

    capacity = context.capacity or Capacity.look()
    capacity.require(f"a shard of {context.stage_id}", demand)
    wait = Wait(context.stage_id, demand, capacity, context.emit)
    waiting = sorted(todo, reverse=True)
    running: dict[Any, int] = {}
    num_finished = 0
    try:
        while waiting or running:
            room = capacity.shards_ahead(wait.machines()) - len(running)
            for index in [waiting.pop() for _ in range(min(room, len(waiting)))]:
                running[post(index)] = index
            done = ray.wait(list(running), timeout=POLL_S, fetch_local=False)[0]
            # One look a turn: a request between two looks would cut short begun shards.
            if stop := context.stop_reason():
                # Shards that are begun are paid for: they are finished, and the others, posted or not, do not begin.
                begun = _begun(home)
                done = [each for each, index in running.items() if each in done or index in begun]
            num_finished += sum(ray.get(done))
            for each in done:
                del running[each]
            if done:
                finished(num_finished)
            if stop and num_finished < len(todo):
                raise StoppedError(stop)
            # Behind other work a shard waits its turn; with no machine for it, the stage waits.
            if done or wait.fits():
                wait.restart()
            else:
                wait.check()
    finally:
        for reference in running:
            ray.cancel(reference)


def _begun(home: Path) -> set[int]:
    """Numbers of the shards that are finished or have a scratch folder."""
    names = (folder.name.removeprefix(".") for folder in home.iterdir())
    return {int(name.partition(".")[0]) for name in names}


def _commit_shard(work: ShardWork[Descriptor], shard: Descriptor, folder: Path, stop: Path | None = None) -> bool:
    """Whether the shard is finished; it does not begin once the file `stop` is there."""
    import secrets

    if folder.exists():
        # An earlier worker died between its commit and its answer.
        return True
    if stop and stop.exists():
        return False
    scratch = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}")
    scratch.mkdir()
    # Again: if `stop` is written and no scratch folder is seen after it, the shard does not begin.
    if stop and stop.exists():
        scratch.rmdir()
        return False
    result = work(shard, scratch)
    if not isinstance(result, ShardResult):
        result = ShardResult(result)
    write_durably(
        scratch / RESULT,
        json.dumps({"metrics": dict(result.metrics), "quarantined": list(result.quarantined)}),
    )
    rename_durably(scratch, folder)
    return True


def _collect(folder: Path, out: Path) -> ShardResult:
    """Link the shard's files into `out` (the shard stays for a next attempt, should this one die before its commit)."""
    result = ShardResult(**json.loads((folder / RESULT).read_text(encoding="utf-8")))
    return _link(folder, [folder / file for file in _files(folder)], result, out)


def _files(folder: Path) -> list[str]:
    """The files that a shard wrote, in order."""
    return sorted(
        file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file() and file.name != RESULT
    )
