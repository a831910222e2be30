"""Arrays are read by several threads at once: numpy parses their headers, which CPython 3.11 cannot do at once."""

import gc
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from pipelines.artifacts.formats.arrays import load_array

NUM_THREADS, ROUNDS = 8, 60


class Finalizer:
    """Garbage whose collection lets another thread run, in the middle of whatever allocates."""

    def __del__(self) -> None:
        for _ in range(200):
            pass


@pytest.fixture
def frequent_switches() -> Iterator[None]:
    interval, thresholds = sys.getswitchinterval(), gc.get_threshold()
    sys.setswitchinterval(1e-6)
    gc.set_threshold(5, 2, 2)
    yield
    sys.setswitchinterval(interval)
    gc.set_threshold(*thresholds)


def read_at_depth(depth: int, read: Callable[[], np.ndarray]) -> np.ndarray:
    return read_at_depth(depth - 1, read) if depth else read()


@pytest.mark.usefixtures("frequent_switches")
def test_threads_of_different_depths_read_arrays_at_once(tmp_path: Path):
    expected = np.arange(4, dtype=np.uint64).view([("row", "<u4"), ("size", "<u4")])
    np.save(tmp_path / "array.npy", expected)
    failures: list[BaseException] = []

    def read_often(depth: int) -> None:
        try:
            for _ in range(ROUNDS):
                for _ in range(6):
                    cycle: list[object] = [Finalizer()]
                    cycle.append(cycle)
                array = read_at_depth(depth, lambda: load_array(tmp_path / "array.npy"))
                assert (array == expected).all()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=read_often, args=(depth,)) for depth in range(NUM_THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


@pytest.mark.parametrize("mapped", [True, False])
def test_pickles_are_refused(tmp_path: Path, mapped: bool):
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="Object arrays|Python objects"):
        load_array(tmp_path / "objects.npy", mapped=mapped)
