"""Programs import numpy if the caller allows it: they compute with it, and reach nothing else by it."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.sandbox import Limits, PreflightError, PythonSandbox, SandboxUnavailableError, preflight
from pipelines.sandbox.battery import ATTACK_LIMITS, WEAKEST, describe, make_target, python_failures, run_attack, victim
from pipelines.sandbox.confinement import landlock, numpy_package
from pipelines.sandbox.confinement.lockdown import Ceiling
from pipelines.sandbox.protocol import RETURNED, TIMEOUT
from pipelines.sandbox.python.attacks import PYTHON_ATTACKS, Attack
from pipelines.sandbox.python.numpy_attacks import NUMPY_ATTACKS
from pipelines.sandbox.python.sandbox import NOT_RUN, RAISED
from tests.pipelines.sandbox.test_sandbox_attacks import UNGUARDED


@pytest.fixture(scope="module", params=[Ceiling(), WEAKEST], ids=["all", "weakest"])
def sandbox(request: pytest.FixtureRequest) -> Iterator[PythonSandbox]:
    with PythonSandbox(ATTACK_LIMITS, ceiling=request.param, numpy=True) as sandbox:
        yield sandbox


@pytest.mark.parametrize("attack", NUMPY_ATTACKS, ids=lambda attack: attack.name)
def test_attack_by_numpy_is_stopped(sandbox: PythonSandbox, attack: Attack, tmp_path: Path) -> None:
    if attack.needs_own_root and not sandbox.has_own_root:
        pytest.skip("no root folder of the sandbox's own")
    reply = run_attack(sandbox, attack, make_target(tmp_path, os.getpid()))
    assert re.match(attack.expected, describe(reply))
    assert [path.read_text() for path in tmp_path.iterdir()] == ["kept"]


def _ceilings() -> list[Ceiling]:
    return [Ceiling(version, namespaces) for version in range(1, landlock.abi() + 1) for namespaces in (True, False)]


@pytest.mark.parametrize("ceiling", _ceilings(), ids=str)
def test_attacks_by_numpy_are_stopped_on_older_kernels_and_without_namespaces(ceiling: Ceiling) -> None:
    assert python_failures(NUMPY_ATTACKS, ceiling, numpy=True) == []


@pytest.mark.slow
@pytest.mark.parametrize("ceiling", _ceilings(), ids=str)
def test_all_other_attacks_are_stopped_beside_numpy(ceiling: Ceiling) -> None:
    assert python_failures(PYTHON_ATTACKS, ceiling, numpy=True) == []


def test_preflight_with_numpy_includes_its_attacks(monkeypatch: pytest.MonkeyPatch) -> None:
    works = Attack("compute", "import numpy\nreturn 'escaped'")
    monkeypatch.setattr("pipelines.sandbox.battery.PYTHON_ATTACKS", ())
    monkeypatch.setattr("pipelines.sandbox.battery.NUMPY_ATTACKS", (works,))
    with pytest.raises(PreflightError, match="1 of 1 attacks were not stopped .*\ncompute: returned 'escaped'"):
        preflight.__wrapped__("python", numpy=True)
    preflight.__wrapped__("python")


LEAVES_TRACES = ("make a folder in numpy", "date numpy")
STOPPED_BY_PYTHON = ("unpickle a secret file", "fetch a table", "load a library")


def test_attacks_by_numpy_work_where_nothing_stops_them(tmp_path: Path) -> None:
    """So that the sandbox stops the attack and not a mistake in it. All that would leave no trace are tried."""
    refused = ("raised PermissionError", "raised ModuleNotFoundError")
    left_out = LEAVES_TRACES + STOPPED_BY_PYTHON
    tried = [
        attack
        for attack in NUMPY_ATTACKS
        if attack.name not in left_out and any(re.match(attack.expected, end) for end in refused)
    ]
    jobs = []
    with victim() as alive:
        for number, attack in enumerate(tried):
            folder = tmp_path / str(number)
            folder.mkdir()
            jobs.append((attack.name, attack.program, make_target(folder, alive.pid)))
        command = [sys.executable, "-c", UNGUARDED]
        done = subprocess.run(command, input=json.dumps(jobs), capture_output=True, text=True, check=True)
    assert len(tried) > 10
    assert json.loads(done.stdout) == dict.fromkeys((attack.name for attack in tried), "escaped")


PRODUCT = """
import numpy as np
def inverse(rows):
    return np.linalg.inv(np.array(rows)).tolist()
def drawn():
    return np.random.rand(3).tolist()
def later_parts():
    import numpy.testing, numpy.lib.recfunctions, numpy.matlib
    from numpy.polynomial import Polynomial
    numpy.testing.assert_allclose(Polynomial([1, 2])(3.0), 7.0)
    return [float(numpy.fft.fft([1.0, 0.0])[1].real), numpy.ma.masked_less([1, 2, 3], 2).sum().item()]
def threads():
    import os, threading
    before = threading.active_count()
    np.ones((500, 500)) @ np.ones((500, 500))
    return [before, threading.active_count(), os.environ["OPENBLAS_NUM_THREADS"]]
def side_by_side():
    import threading
    sums, together = [], threading.Barrier(3)
    def work():
        together.wait()
        sums.append([float((np.ones((200, 200)) @ np.ones((200, 200))).sum()) for _ in range(20)][-1])
    workers = [threading.Thread(target=work) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sums
"""


def value(sandbox: PythonSandbox, name: str, *arguments: object) -> object:
    (reply,) = sandbox.call(PRODUCT, name, [arguments], cpu_s=5.0).calls
    assert reply.outcome == RETURNED, reply.error
    return reply.value


def test_program_computes_with_numpy(sandbox: PythonSandbox) -> None:
    assert value(sandbox, "inverse", [[2.0, 0.0], [0.0, 4.0]]) == [[0.5, 0.0], [0.0, 0.25]]
    assert value(sandbox, "later_parts") == [1.0, 5]
    assert value(sandbox, "threads") == [1, 1, "1"]


@pytest.mark.parametrize("ceiling", [Ceiling(), WEAKEST], ids=["all", "weakest"])
def test_threads_of_a_program_compute_at_the_same_time(ceiling: Ceiling) -> None:
    """Three of them need more memory than an attack gets, and less than a program does."""
    with PythonSandbox(Limits(), ceiling=ceiling, numpy=True) as sandbox:
        assert value(sandbox, "side_by_side") == [8_000_000.0] * 3


def test_random_numbers_are_the_same_in_every_program_and_sandbox(sandbox: PythonSandbox) -> None:
    import numpy as np

    expected = np.random.RandomState(0).rand(3).tolist()
    assert [value(sandbox, "drawn") for _ in range(2)] == [expected] * 2


def test_memory_and_cpu_time_hold_for_numpy() -> None:
    program = (
        "import numpy as np\ndef f(n):\n    return float(np.ones(n).sum())\n"
        "def g(n):\n    a = np.ones((n, n))\n    while True:\n        a @ a"
    )
    with PythonSandbox(Limits(memory_bytes=512 << 20), numpy=True) as sandbox:
        fits, not_fits = sandbox.call(program, "f", [[10_000_000], [60_000_000]], cpu_s=5.0).calls
        (endless,) = sandbox.call(program, "g", [[300]], cpu_s=0.2).calls
    assert (fits.outcome, fits.value) == (RETURNED, 1e7)
    assert (not_fits.outcome, not_fits.error.split(":")[0]) == (RAISED, "MemoryError")
    assert endless.outcome == TIMEOUT


@pytest.mark.parametrize("numpy", [False, True])
def test_only_numpy_is_there_and_only_if_it_is_asked_for(numpy: bool) -> None:
    with PythonSandbox(numpy=numpy) as sandbox:
        loads = {
            name: sandbox.call(f"import {name}", "f", [[]], cpu_s=1.0)
            for name in ("numpy", "pyarrow", "pydantic", "packaging")
        }
    assert all(reply.calls[0].outcome in (NOT_RUN, RAISED) for reply in loads.values())
    assert {name for name, reply in loads.items() if reply.load.outcome == RETURNED} == ({"numpy"} if numpy else set())
    for reply in loads.values():
        assert reply.load.error.startswith("ModuleNotFoundError") or reply.load.outcome == RETURNED


def test_missing_numpy_is_told_before_a_program_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numpy_package, "home", lambda: None)
    with (
        pytest.raises(SandboxUnavailableError, match="import numpy, which is not installed"),
        PythonSandbox(numpy=True),
    ):
        pytest.fail("it started")


COVERED = """
import os, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from pipelines.sandbox.confinement import kernel, root
from pipelines.sandbox.confinement.lockdown import CLONE_NEWUSER
owner = os.geteuid(), os.getegid()
library = Path(sys.argv[2])
packages = library / "site-packages"
try:
    kernel.unshare(CLONE_NEWUSER)
except OSError:
    sys.exit("no namespace")
if not root.prepare(owner, [library, packages / "numpy"], [packages, library / "test"]):
    sys.exit("no root")
os.chroot(root.LIBRARY)
print([sorted(os.listdir(folder)) for folder in (library, packages, packages / "numpy", library / "test")])
try:
    (packages / "new").mkdir()
except OSError as error:
    print(error.errno)
"""


def test_numpy_among_the_packages_of_the_interpreter_itself_shows_nothing_beside_it(tmp_path: Path) -> None:
    """As in images whose Python has no virtual environment."""
    for name in ("module.py", "site-packages/numpy/core.py", "site-packages/secret/answers.py", "test/data.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    project = str(Path(__file__).parents[3])
    command = [sys.executable, "-c", COVERED, project, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.stderr.strip() in ("no namespace", "no root"):
        pytest.skip("this machine allows no mount namespace")
    assert done.stdout.splitlines() == [
        "[['module.py', 'site-packages', 'test'], ['numpy'], ['core.py'], []]",
        "30",  # read-only file system
    ]
