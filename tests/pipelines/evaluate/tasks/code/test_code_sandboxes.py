"""Sandboxes of a task: kept from one part of its answers to the next, never beyond the task."""

from unittest import mock

import pytest

from pipelines.evaluate.tasks.code.judging import SandboxKeeper
from pipelines.sandbox import PythonSandbox

PROGRAM = "def f(x): return 2 * x"


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[PythonSandbox]:
    """Sandboxes that were made."""
    each: list[PythonSandbox] = []

    def make(*arguments: object, **options: object) -> PythonSandbox:
        each.append(PythonSandbox(*arguments, **options))  # type: ignore[arg-type]
        return each[-1]

    monkeypatch.setattr("pipelines.evaluate.tasks.code.judging.PythonSandbox", make)
    return each


def doubled(keeper: SandboxKeeper, numbers: list[int], most: int = 2) -> list[object]:
    def double(sandbox: PythonSandbox, number: int) -> object:
        return sandbox.call(PROGRAM, "f", [[number]], cpu_s=1.0).calls[0].value

    with keeper.use(most, "", number=2) as ready:
        return ready.map(double, numbers)


def running(made: list[PythonSandbox]) -> int:
    return sum(sandbox._zygote._process is not None for sandbox in made)


def test_sandboxes_are_kept_while_as_many_are_wanted_and_end_with_the_task(made: list[PythonSandbox]) -> None:
    keeper = SandboxKeeper()
    with keeper.keep():
        assert running(made) == 0, "a task whose verdicts are all stored needs none"
        assert doubled(keeper, [1, 2, 3]) == doubled(keeper, [1, 2, 3]) == [2, 4, 6]
        assert (len(made), running(made)) == (2, 2)
        assert doubled(keeper, [4], most=1) == [8]
        assert (len(made), running(made)) == (3, 1), "a single one has all of the memory"
    assert running(made) == 0
    assert doubled(keeper, [5]) == [10]
    assert (len(made), running(made)) == (5, 0)


@pytest.mark.parametrize("at", [0, 1])
def test_no_sandbox_outlives_an_error(at: int, made: list[PythonSandbox]) -> None:
    """While the first or the second of them starts, or while they work."""
    keeper, begin = SandboxKeeper(), PythonSandbox.__enter__

    def enter(sandbox: PythonSandbox) -> PythonSandbox:
        if len(made) > at:
            raise ZeroDivisionError
        return begin(sandbox)

    with mock.patch.object(PythonSandbox, "__enter__", enter), pytest.raises(ZeroDivisionError):
        doubled(keeper, [1])
    with keeper.keep(), mock.patch.object(PythonSandbox, "__enter__", enter), pytest.raises(ZeroDivisionError):
        doubled(keeper, [1])
    with pytest.raises(TypeError), keeper.keep():
        doubled(keeper, [1])
        keeper.use(2, "").__enter__().map(len, [1])  # type: ignore[arg-type]
    assert running(made) == 0
