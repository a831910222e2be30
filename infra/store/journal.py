"""Finished items of long work in a file, so that work that is killed continues from them."""

import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any


class Journal:
    """A file of [key, value] lines in JSON, each on disk before the next item is begun. A context manager."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        # A kill in the middle of a write leaves a last line without its end: that item was never finished.
        whole = path.read_bytes().rpartition(b"\n")[0]
        self._items: dict[str, Any] = dict(json.loads(line) for line in whole.splitlines())
        self._file = path.open("r+b")
        self._file.truncate(len(whole) + 1 if whole else 0)
        self._file.seek(0, os.SEEK_END)

    def remember(self, key: str, compute: Callable[[], Any]) -> Any:
        """The value of `key`, plain JSON data: from an earlier attempt, or computed now and stored."""
        if key not in self._items:
            self.add({key: compute()})
        return self._items[key]

    def add(self, items: Mapping[str, Any]) -> None:
        """Record the results of one batch: all of it is on disk when this returns."""
        lines = [json.dumps([key, value]).encode() + b"\n" for key, value in items.items()]
        self._file.write(b"".join(lines))
        self._file.flush()
        os.fsync(self._file.fileno())
        self._items.update(items)

    def __contains__(self, key: str) -> bool:
        return key in self._items

    def __getitem__(self, key: str) -> Any:
        """The value of a finished item."""
        return self._items[key]

    def values(self) -> Iterable[Any]:
        """The values of all finished items."""
        return self._items.values()

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
