"""The terminal in which pages run."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.terminal import Terminal


@pytest.fixture
def in_the_background() -> Iterator[None]:
    """As a shell without job control starts `pytest &`."""
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGINT, previous)


def test_ctrl_c_ends_a_server_of_a_test_run_in_the_background(tmp_path: Path, in_the_background: None) -> None:
    terminal = Terminal(tmp_path)
    try:
        assert ":8731" in terminal.serve("python -u -m http.server --bind 127.0.0.1 8731", port=8731)
        terminal.interrupt()
        assert terminal.run("jobs -r") == "\n"
    finally:
        terminal.close()


def test_a_command_that_fails_ends_its_block(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)
    with pytest.raises(AssertionError, match="once"):
        terminal.run("echo once\nfalse\necho never")
    terminal.close()
