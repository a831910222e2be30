"""Kept machine code: the second process does not compile, and none computes with the code of other sources or bytes."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONSTANTS = "FACTOR = {factor}\n"
KERNEL = """
import constants
from constants import FACTOR
from arctic_model.machine_code import compiler

compiled = compiler(constants, nogil=True)


@compiled
def twice(number):
    return number + number


@compiled
def scaled(number):
    return FACTOR * twice(number)
"""
ASKS = """
import sys
from kernel import scaled

for text in sys.argv[1:]:
    number = float(text) if "." in text else int(text)
    print(scaled(number), sum(scaled.stats.cache_hits.values()))
"""


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the machine code for whole numbers."""
    folder = tmp_path_factory.mktemp("compiled")
    (folder / "constants.py").write_text(CONSTANTS.format(factor=3))
    (folder / "kernel.py").write_text(KERNEL)
    assert _run(folder, "5") == (["30 0"], "")
    return folder


@pytest.fixture
def folder(compiled: Path, tmp_path: Path) -> Path:
    return shutil.copytree(compiled, tmp_path / "copy")


def _run(folder: Path, *numbers: str, before: str = "") -> tuple[list[str], str]:
    """For each number its result and the functions loaded so far, by a new process; and its warnings."""
    path = f"import sys; sys.path[:0] = [{str(folder)!r}, {str(ROOT)!r}]; sys.dont_write_bytecode = True"
    code = f"{path}\n{before}\n{ASKS}"
    done = subprocess.run([sys.executable, "-c", code, *numbers], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines(), done.stderr


def _kept(folder: Path) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in (folder / "__pycache__").glob("*.nbc")}


def test_the_second_process_loads_what_the_first_compiled(folder: Path) -> None:
    assert _run(folder, "5", "0.5") == (["30 1", "3.0 1"], "")


def test_no_two_signatures_share_a_file(folder: Path) -> None:
    """Two processes that write one index at once could each enter the other's machine code."""
    before = _kept(folder)
    _run(folder, "0.5")
    assert len(_kept(folder)) == 2 * len(before)
    assert before.items() <= _kept(folder).items()


def test_a_changed_constant_of_another_module_is_compiled(folder: Path) -> None:
    before = _kept(folder)
    (folder / "constants.py").write_text(CONSTANTS.format(factor=4))
    assert _run(folder, "5") == (["40 0"], "")
    assert _run(folder, "5") == (["40 1"], "")
    assert _kept(folder).keys() == before.keys()


@pytest.mark.parametrize(
    ("share", "is_cut"), [(0, True), (0.5, True), (0, False), (0.3, False), (0.6, False), (0.99, False)]
)
def test_damaged_bytes_are_compiled_again(folder: Path, share: float, is_cut: bool) -> None:
    [file] = [file for file in _kept(folder) if file.name.startswith("scaled")]
    content = bytearray(file.read_bytes())
    place = int(share * len(content))
    content[place] ^= 0x10
    file.write_bytes(content[:place] if is_cut else content)
    outputs, warnings = _run(folder, "5")
    assert outputs == ["30 0"]
    assert "machine code of scaled is damaged" in warnings
    assert file.read_bytes() != content


def test_the_compiled_code_replaces_the_damaged_one(folder: Path) -> None:
    for file in _kept(folder):
        file.write_bytes(b"")
    assert _run(folder, "5")[0] == ["30 0"]
    assert _run(folder, "5") == (["30 1"], "")


def test_without_a_folder_to_write_to_each_process_compiles(folder: Path) -> None:
    before = "from numba.core.caching import CacheImpl; CacheImpl._locator_classes = []"
    assert _run(folder, "5", before=before) == (["30 0"], "")


def test_a_full_disk_is_told_and_ends_nothing(folder: Path) -> None:
    before = """
from arctic_model import machine_code

def refuse(*_):
    raise OSError(28, "No space left on device")

machine_code._SealedFile._save_data = refuse
"""
    outputs, warnings = _run(folder, "0.5", before=before)
    assert outputs == ["3.0 0"]
    assert "cannot be kept ([Errno 28] No space left on device)" in warnings


@pytest.fixture
def slow_extension(folder: Path) -> None:
    """As numba finds them: by the entry point of an installed package."""
    (folder / "slow.py").write_text(
        "import time\nloaded = False\ndef load():\n    global loaded\n    time.sleep(1)\n    loaded = True\n"
    )
    (folder / "slow-1.dist-info").mkdir()
    (folder / "slow-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: slow\nVersion: 1\n")
    (folder / "slow-1.dist-info" / "entry_points.txt").write_text("[numba_extensions]\ninit = slow:load\n")


@pytest.mark.usefixtures("slow_extension")
def test_threads_wait_for_the_extensions_of_numba_before_they_compile(folder: Path) -> None:
    asked = """
from concurrent.futures import ThreadPoolExecutor
from numba.core import event
import kernel, slow

class Watch(event.Listener):
    def on_start(self, _): print(slow.loaded)
    def on_end(self, _): pass

with event.install_listener("numba:compile", Watch()), ThreadPoolExecutor(4) as pool:
    print(*pool.map(kernel.scaled, [1, 2.5, 3, 4.5]))
"""
    assert _run(folder, before=asked)[0] == ["True", "True", "6 15.0 18 27.0"]


@pytest.mark.usefixtures("slow_extension")
def test_extensions_are_loaded_only_to_compile(folder: Path) -> None:
    """Also behind kept machine code, for another type."""
    asked = """
import kernel, slow

for number in (5, 2.5):
    print(kernel.scaled(number), slow.loaded)
"""
    assert _run(folder, before=asked)[0] == ["30 False", "15.0 True"]
