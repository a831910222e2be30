"""The wheel holds every file that the packages need, and its command runs outside the checkout."""

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("arctic_model", "data_recipes", "infra", "pipelines")
FOR_CLUSTERS = ("infra/docker/", "infra/kuberay/", "infra/serve/", "infra/skypilot/", "infra/slurm/")
"""Files that build or start a cluster from a checkout: no installed code reads them."""

pytestmark = pytest.mark.slow


def run(*command: str | Path, cwd: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def tracked(*folders: str) -> list[str]:
    return run("git", "ls-files", "--cached", "--others", "--exclude-standard", *folders, cwd=ROOT).splitlines()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of the tracked files: an old build folder of the checkout would supply missing files."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for file in filter(lambda name: (ROOT / name).exists(), tracked()):
        (source / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / file, source / file)
    options = ("--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", folder)
    run(sys.executable, "-m", "pip", "wheel", *options, source, cwd=folder)
    [wheel] = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def installed(wheel: Path) -> Path:
    """A new environment with the wheel in it; its dependencies are those of the environment of the tests."""
    folder = wheel.parent / "environment"
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin/python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel, cwd=wheel.parent)
    purelib = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=wheel.parent).strip()
    dependencies = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    (Path(purelib) / "dependencies.pth").write_text("\n".join(dependencies) + "\n")
    return folder


def test_the_wheel_holds_every_tracked_file_of_the_packages(wheel: Path) -> None:
    expected = [file for file in tracked(*PACKAGES, "arctic_errors.py") if not file.startswith(FOR_CLUSTERS)]
    missing = [file for file in expected if (ROOT / file).exists() and file not in ZipFile(wheel).namelist()]
    assert not missing


def test_the_command_runs_outside_the_checkout(installed: Path, tmp_path: Path) -> None:
    assert "Usage: arctic" in run(installed / "bin/arctic", "--help", cwd=tmp_path)


def test_the_packages_are_read_from_the_environment(installed: Path, tmp_path: Path) -> None:
    names = ("arctic_errors", *PACKAGES)
    program = f"for name in {names}: print(__import__(name).__file__)"
    files = run(installed / "bin/python", "-c", program, cwd=tmp_path).splitlines()
    assert all(Path(file).is_relative_to(installed) for file in files), files


def test_an_installed_recipe_is_planned(installed: Path, tmp_path: Path) -> None:
    program = "import data_recipes; print(data_recipes.__path__[0])"
    recipes = Path(run(installed / "bin/python", "-c", program, cwd=tmp_path).strip())
    recipe = recipes / "runs/quickstart.toml"
    assert "train[1]" in run(installed / "bin/arctic", "plan", recipe, "--store", tmp_path / "store", cwd=tmp_path)
