"""Tasks on groups of processes: each done once even if processes die, by all members in step, and errors in their own
words."""

import json
import os
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from infra.budget import StoppedError
from infra.context import STOP, StageContext
from infra.groups.group import Member, MemberLostError
from infra.groups.mapping import map_on_groups
from infra.resources import Demand
from infra.resources.capacity import CapacityError

PAIR = Demand(2, 0.5)


def see_gpu(folder: Path, member: Member) -> Callable[[int], str]:
    """Writes down which GPUs the process sees."""

    def look(_: int) -> str:
        (folder / f"gpu-{member.rank}").write_text(os.environ["CUDA_VISIBLE_DEVICES"])
        return os.environ["CUDA_VISIBLE_DEVICES"]

    return look


def context(folder: Path, *, parallel: bool = False) -> StageContext:
    return StageContext("evaluate[1]", folder, folder, [].append, parallel)


class Squares:
    """Writes down each task of each member; the second member dies on the tasks `deadly`, each time or once."""

    def __init__(self, folder: Path, deadly: tuple[int, ...], once: bool, member: Member) -> None:
        self.folder, self.deadly, self.once, self.member = folder, deadly, once, member

    def __call__(self, number: int) -> int:
        died = self.folder / f"died-{number}"
        if number in self.deadly and self.member.rank == 1 and not died.exists():
            if self.once:
                died.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if number == 17 and not died.exists():
            if self.member.rank == 0:
                died.touch()
            raise MemberLostError("TimeoutError: \nno more")
        if number == 13:
            raise ZeroDivisionError("thirteen")
        row = json.dumps([self.member.rank, self.member.size, number, self.member.one_machine])
        with (self.folder / f"rows-{self.member.rank}").open("a") as file:
            file.write(row + "\n")
        return number * number + self.member.rank


def squares(folder: Path, deadly: tuple[int, ...] = (), once: bool = True) -> Callable[[Member], Squares]:
    return partial(Squares, folder, deadly, once)


def rows(folder: Path, rank: int) -> list[list]:
    return [json.loads(line) for line in (folder / f"rows-{rank}").read_text().splitlines()]


def test_all_members_get_each_task_and_the_first_ones_result_counts(tmp_path: Path) -> None:
    numbers = [2, 5, 3]
    result = list(map_on_groups(squares(tmp_path), numbers, context(tmp_path), num_groups=3, demand=PAIR))
    assert result == [(0, 4), (1, 25), (2, 9)]
    for rank in range(2):
        assert rows(tmp_path, rank) == [[rank, 2, number, True] for number in numbers]
    assert list(map_on_groups(squares(tmp_path), [], context(tmp_path), num_groups=1, demand=PAIR)) == []


def test_group_of_a_killed_member_starts_again_with_the_same_task(tmp_path: Path) -> None:
    make, ours = squares(tmp_path, deadly=(5, 3)), context(tmp_path)
    result = list(map_on_groups(make, [2, 5, 3], ours, num_groups=1, demand=PAIR))
    assert result == [(0, 4), (1, 25), (2, 9)]
    assert ours.warnings == ["a process of the group died; the group starts again"]
    assert [row[2] for row in rows(tmp_path, 1)] == [2, 5, 3]


def test_group_that_always_loses_a_member_ends(tmp_path: Path) -> None:
    make = squares(tmp_path, deadly=(5,), once=False)
    with pytest.raises(MemberLostError, match="a process of the group died"):
        list(map_on_groups(make, [5], context(tmp_path), num_groups=1, demand=PAIR, deaths=1))


@pytest.mark.parametrize("visible", ["", "0", "3,-1,1", "GPU-1,,GPU-2"])
def test_fewer_visible_gpus_than_processes_are_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, visible: str
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    ours = context(tmp_path)
    with pytest.raises(CapacityError, match=f"CUDA_VISIBLE_DEVICES = '{visible}': it shows [01] GPUs.* takes 2"):
        list(map_on_groups(squares(tmp_path), [2], ours, num_groups=1, demand=Demand(2, 1.0, 1.0)))
    assert ours.warnings == []


def test_each_process_sees_a_gpu_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-7, 3 ,5")
    seen = map_on_groups(partial(see_gpu, tmp_path), [1], context(tmp_path), num_groups=1, demand=Demand(2, 1.0, 1.0))
    assert list(seen) == [(0, "GPU-7")]
    assert {file.name: file.read_text() for file in tmp_path.glob("gpu-*")} == {"gpu-0": "GPU-7", "gpu-1": "3"}


def test_request_to_stop_ends_between_two_tasks(tmp_path: Path) -> None:
    result = []
    with pytest.raises(StoppedError, match="enough"):
        for each in map_on_groups(squares(tmp_path), [2, 5], context(tmp_path), num_groups=1, demand=PAIR):
            result.append(each)
            (tmp_path / STOP).write_text("enough")
    assert result == [(0, 4)]


@pytest.mark.slow
def test_error_of_a_worker_keeps_its_words(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError, match="thirteen"):
        list(map_on_groups(squares(tmp_path), [2, 13], context(tmp_path), num_groups=1, demand=PAIR))


@pytest.mark.slow
@pytest.mark.usefixtures("two_cpus")
def test_groups_on_ray(tmp_path: Path) -> None:
    import ray

    on_ray = context(tmp_path, parallel=True)
    for name, deadly in (("plain", ()), ("deadly", (5, 7))):
        folder = tmp_path / name
        folder.mkdir()
        # More groups than there is room for: those that never start delay no other.
        result = map_on_groups(squares(folder, deadly), range(9), on_ray, num_groups=3, demand=PAIR)
        assert sorted(result) == [(n, n * n) for n in range(9)]
        assert sorted(row[2] for row in rows(folder, 1)) == list(range(9))
    assert all("a process of the group died" in warning for warning in on_ray.warnings)
    assert list(map_on_groups(squares(tmp_path), [17], on_ray, num_groups=1, demand=PAIR)) == [(0, 289)]
    assert on_ray.warnings[-1] == "TimeoutError: ; the group starts again", "the words of the work, not Ray's traceback"
    with pytest.raises(ZeroDivisionError, match="thirteen"):
        list(map_on_groups(squares(tmp_path), [13], on_ray, num_groups=1, demand=PAIR))
    deadline = time.monotonic() + 30
    while ray.available_resources()["CPU"] < 2.0:
        assert time.monotonic() < deadline, "everything is given back"
        time.sleep(0.1)
