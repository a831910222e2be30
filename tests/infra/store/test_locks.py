"""Locks by which runs share a store: one holder at a time, and none after its end, however it ended."""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from infra.store import StoreError
from infra.store.locks import locked

HOLD = """
    import sys
    from pathlib import Path
    from infra.store.locks import locked
    with locked(Path(sys.argv[1]), print):
        print("held", flush=True)
        sys.stdin.read()
"""


def test_the_next_waits_for_the_holder_who_is_named_and_goes_on_when_that_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "state" / "lock"
    command = [sys.executable, "-c", textwrap.dedent(HOLD), str(path)]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    waited: list[str] = []

    def kill(name: str, _seconds: float) -> None:
        waited.append(name)
        holder.send_signal(signal.SIGKILL)
        holder.communicate()

    with locked(path, kill):
        assert waited and waited[0].startswith(f"process {holder.pid} on ")


def test_a_holder_may_remove_its_folder_and_the_next_holds_a_lock_that_others_see(tmp_path: Path) -> None:
    path = tmp_path / "state" / "lock"
    is_waiting, holders = threading.Event(), []

    def hold(name: str) -> None:
        with locked(path, lambda _holder, _seconds: is_waiting.set()):
            holders.append(name)
            with path.open() as other, pytest.raises(BlockingIOError):
                fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
            holders.append(name)

    with locked(path, lambda _holder, _seconds: None):
        threads = [threading.Thread(target=hold, args=(name,)) for name in ("second", "third")]
        for thread in threads:
            thread.start()
        assert is_waiting.wait(60)
        # As the store removes it: the third may make a file in it meanwhile.
        shutil.rmtree(path.parent, ignore_errors=True)
    for thread in threads:
        thread.join(60)
    assert holders in (["second"] * 2 + ["third"] * 2, ["third"] * 2 + ["second"] * 2)


def test_a_folder_that_is_removed_while_it_is_looked_for_is_made_again(tmp_path: Path, monkeypatch) -> None:
    path, mkdir, removals = tmp_path / "state" / "lock", os.mkdir, iter([True])

    def meet_and_lose(folder, *options):
        """As when another process makes the folder before this call and removes it after."""
        if Path(folder) == path.parent and next(removals, False):
            raise FileExistsError(folder)
        mkdir(folder, *options)

    monkeypatch.setattr(os, "mkdir", meet_and_lose)
    with locked(path, lambda _holder, _seconds: None):
        assert path.is_file()


@pytest.mark.parametrize("make", [Path.touch, lambda place: place.symlink_to("nowhere")], ids=["file", "dangling link"])
def test_a_file_instead_of_the_folder_of_a_lock_is_no_reason_to_wait(tmp_path: Path, make) -> None:
    make(tmp_path / "state")
    with pytest.raises(FileExistsError), locked(tmp_path / "state" / "lock", lambda _holder, _seconds: None):
        pass


def test_a_file_system_without_locks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(_file: object, _operation: int) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    with (
        pytest.raises(StoreError, match=r"lock: its file system cannot lock files \(Operation not supported\)"),
        locked(tmp_path / "lock", lambda _holder, _seconds: None),
    ):
        pass
