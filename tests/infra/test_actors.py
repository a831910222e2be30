"""Tasks on actors: each done once even if actors die, and results that name their task."""

import os
import threading
from pathlib import Path

import pytest

from infra.context import StageContext
from infra.groups.actors import map_on_actors
from tests.kit.servers.local_ray import local_ray


def context(folder: Path, *, parallel: bool) -> StageContext:
    return StageContext("evaluate[1]", folder, folder, [].append, parallel)


class Squares:
    """Counts how often it was made; dies once on 3 if `deadly`."""

    def __init__(self, folder: Path, deadly: bool = False) -> None:
        (folder / os.urandom(8).hex()).touch()
        self.folder, self.deadly = folder, deadly

    def __call__(self, number: int) -> int:
        if self.deadly and number == 3 and not (self.folder / "died").exists():
            (self.folder / "died").touch()
            os._exit(9)
        return number * number


def test_tasks_run_here_in_order_and_nothing_is_made_for_none(tmp_path):
    here = context(tmp_path, parallel=False)
    assert list(map_on_actors(lambda: Squares(tmp_path), [2, 5], here, num_actors=4)) == [(0, 4), (1, 25)]
    assert len(list(tmp_path.iterdir())) == 1
    assert list(map_on_actors(lambda: 1 // 0, [], here, num_actors=1)) == []


class Pairs:
    """Answers a task only if another one is under way at the same time in this process; made once."""

    def __init__(self, folder: Path) -> None:
        (folder / os.urandom(8).hex()).touch()
        self.both = threading.Barrier(2)

    def __call__(self, number: int) -> int:
        self.both.wait(timeout=60)
        if number < 0:
            raise ValueError(number)
        return number * number


def test_an_actor_with_two_cpus_works_on_two_tasks_at_a_time_with_one_worker(tmp_path):
    here = context(tmp_path, parallel=False)
    result = map_on_actors(lambda: Pairs(tmp_path), range(6), here, num_actors=1, num_cpus=2.0)
    assert sorted(result) == [(n, n * n) for n in range(6)]
    assert len(list(tmp_path.iterdir())) == 1
    with pytest.raises(ValueError, match="-1"):
        list(map_on_actors(lambda: Pairs(tmp_path), [-1, 2], here, num_actors=1, num_cpus=2.0))


@pytest.mark.slow
def test_two_tasks_at_a_time_on_ray(tmp_path):
    with local_ray(num_cpus=4):
        on_ray = context(tmp_path, parallel=True)
        result = map_on_actors(lambda: Pairs(tmp_path), range(4), on_ray, num_actors=2, num_cpus=4.0)
        assert sorted(result) == [(n, n * n) for n in range(4)]
        assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.slow
@pytest.mark.usefixtures("two_cpus")
def test_tasks_on_ray(tmp_path):
    on_ray = context(tmp_path, parallel=True)
    for name in ("plain", "deadly"):
        folder = tmp_path / name
        folder.mkdir()
        # more actors than there is room for: those that never start delay no other
        result = map_on_actors(lambda: Squares(folder, name == "deadly"), range(9), on_ray, num_actors=3)  # noqa: B023
        assert sorted(result) == [(n, n * n) for n in range(9)]
    assert len(list((tmp_path / "plain").iterdir())) <= 2
    assert (tmp_path / "deadly" / "died").exists()
    with pytest.raises(ZeroDivisionError):
        list(map_on_actors(lambda: 1 // 0, [1, 2], on_ray, num_actors=2))
