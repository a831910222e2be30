"""Arrays in files of NumPy's own format."""

import threading
from pathlib import Path

import numpy as np

_PARSING = threading.Lock()


def load_array(path: Path, *, mapped: bool = True) -> np.ndarray:
    """The array in a .npy file, mapped into memory or read. Raises OSError, ValueError.

    One thread at a time: numpy reads the header with `ast`, and CPython 3.11 raises SystemError now and then if two
    threads parse at once (its depth of recursion is counted for all of them, python/cpython#106905).
    """
    with _PARSING:
        array: np.ndarray = np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
    return array
