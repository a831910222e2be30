"""Run the tests of the files changed since a commit: `python tests/changed.py [BASE]`.

The tests of `<package>/<folder>/<module>.py` lie in `tests/<package>/<folder>/`. A change in `data_recipes/` also runs
the tests of wrong values, and the test of the reference. A change in `docs/` or to a page of the root runs
`tests/docs`, one in `examples/` the test of the examples. The tests of style always run.
"""

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).parents[1]
PACKAGES = ("arctic_errors.py", "arctic_model", "data_recipes", "infra", "pipelines")
RECIPES = "data_recipes"
EXAMPLES, REFERENCE = "tests/test_examples.py", "tests/docs/test_reference.py"


def changed_files(base: str) -> list[str]:
    """Files that differ from the common ancestor with `base`, uncommitted and new ones included."""
    ancestor = _git("merge-base", base, "HEAD")[0]
    return sorted({*_git("diff", "--name-only", ancestor), *_git("ls-files", "--others", "--exclude-standard")})


def tests_of(files: Iterable[str], root: Path) -> list[str]:
    """Test files below `root` that cover the files."""
    tests = {test for file in files for test in _tests_of(PurePosixPath(file), root)}
    return sorted(test.relative_to(root).as_posix() for test in {*tests, *_in(root / "tests/style")})


def _tests_of(file: PurePosixPath, root: Path) -> Iterable[Path]:
    match file.parts[0]:
        case "tests":
            return _own_tests(root / file)
        case "examples":
            return [root / EXAMPLES]
        case "docs":
            return _in(root / "tests/docs")
        case name if name in PACKAGES:
            mirrored = _in(_mirrored(root / "tests" / file.parent, root / "tests"))
            return [*mirrored, *_tests_of_fields(root)] if name == RECIPES else mirrored
    return _in(root / "tests/docs") if file.suffix == ".md" else []


def _tests_of_fields(root: Path) -> Iterable[Path]:
    """Each field of a recipe has wrong values and a row in the reference."""
    return [*_in(root / "tests/pipelines/fit"), root / REFERENCE]


def _own_tests(file: Path) -> Iterable[Path]:
    """A test file itself, or the tests that may use a helper."""
    test = file.parent / f"test_{file.stem.removeprefix('test_')}.py"
    return [test] if test.exists() else _in(file.parent)


def _mirrored(folder: Path, tests: Path) -> Path:
    """The folder, or the closest one above it that exists."""
    return next(above for above in (folder, *folder.parents) if above.is_dir() or above == tests)


def _in(folder: Path) -> Iterable[Path]:
    """Only the tests directly in the folder: those below belong to other folders of the code."""
    return folder.glob("test_*.py")


def _git(*arguments: str) -> list[str]:
    command = ["git", "-C", str(ROOT), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()


if __name__ == "__main__":
    base = sys.argv[1] if len(sys.argv) > 1 else "main"
    selected = tests_of(changed_files(base), ROOT)
    print("tests of the change:", *selected, sep="\n  ", flush=True)
    command = [sys.executable, "-m", "pytest", "-q", "-n", "auto", "--dist", "loadfile", *selected]
    sys.exit(subprocess.run(command, cwd=ROOT).returncode)
