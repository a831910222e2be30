"""Packages of extras: a missing one is reported by a plan, stops a stage before its work, and leaves no files
behind."""

import ast
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from infra.events import EventLog
from infra.host.packages import MODULES, PackageError, broken, optional, problems, require
from infra.plan import missing_packages, plan
from infra.runner import run_inline
from infra.stage import Stage
from infra.store import Store

ROOT = Path(__file__).parents[3]
OURS = {"arctic_errors", "pipelines", "infra", "arctic_model", "data_recipes"}
TRANSITIVE = {
    "starlette": "fastapi",
    "jinja2": "torch",
    "llvmlite": "numba",
    # Only the CUDA build imports these.
    "triton": "torch",
    "datasets": "lm_eval",
    "requests": "mlflow",
    "filelock": "torch",
    "fsspec": "torch",
}
"""Modules of packages that another, required or optional, one always brings."""
OPTIONAL = {result.name for _, result in optional()}
ELSEWHERE = ("arctic_model/export/engines", "arctic_model/export/remote_code")
"""Programs and modeling files that run in the environment of another engine."""
GUARDED_BY_CALLERS = {
    "arctic_model/export/gguf/file.py",
    "arctic_model/export/gguf/vocabulary.py",
    "pipelines/evaluate/engine/harness_model.py",
    "pipelines/models/huggingface_cache.py",
    "pipelines/serve/app.py",
    "pipelines/serve/metrics.py",
    "pipelines/source/web/pdf.py",
}
"""Modules that are imported by those who have the package, or after it was required."""
OF_THE_USER = {"nltk", "vllm"}
"""Packages that no extra installs: users who have them may use them, and the protocol of a score mentions it."""


def stage(*packages: str) -> Stage:
    def work(context, inputs):
        (context.out / "made").write_text("scores")
        return {"made": 1.0}

    return Stage("evaluate", "1", 1, {}, {}, work, packages=packages)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder whose packages count as installed."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    yield folder


def install(folder: Path, name: str, version: str, body: str = "") -> None:
    (folder / name).mkdir(exist_ok=True)
    (folder / name / "__init__.py").write_text(body)
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


def test_a_stage_without_its_package_commits_nothing_and_is_built_once_it_is_there(tmp_path: Path, installed: Path):
    store, needy = Store(tmp_path / "store").open(), stage("some_harness")
    lines = missing_packages(plan(store, [needy]))
    assert len(lines) == 1 and lines[0].startswith("evaluate[1]: some_harness missing (needs any). Run: pip install")
    log = EventLog(tmp_path / "log")
    outcome = run_inline(plan(store, [needy]), store, log, lambda event: None)
    assert "evaluate[1] needs some_harness missing" in outcome.failed["evaluate[1]"]
    assert store.find(needy) is None
    install(installed, "some_harness", "1.0")
    assert missing_packages(plan(store, [needy])) == []
    outcome = run_inline(plan(store, [needy]), store, log, lambda event: None)
    assert outcome.ok
    assert (outcome.artifacts["evaluate[1]"].path / "made").read_text() == "scores"
    log.close()


def test_what_is_reused_needs_no_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    store = Store(tmp_path / "store").open()
    log = EventLog(tmp_path / "log")
    assert run_inline(plan(store, [stage()]), store, log, lambda event: None).ok
    log.close()
    (step,) = plan(store, [stage("no_such_package")])
    assert step.action == "reuse", "packages are no part of a key"
    assert missing_packages([step]) == []


@pytest.mark.parametrize("name", sorted(OPTIONAL))
def test_each_package_of_an_extra_is_missed_however_it_is_gone(name: str, monkeypatch: pytest.MonkeyPatch):
    real, module = metadata.version, MODULES.get(name, name.replace("-", "_"))
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, module, None)
        assert problems([name])[0].startswith(f"{name} missing (needs ")
    with monkeypatch.context() as patch:
        present = ModuleType(module)
        present.__spec__ = ModuleSpec(module, None)
        patch.setitem(sys.modules, module, present)
        patch.setattr(metadata, "version", lambda asked: "0.0.1" if asked == name else real(asked))
        assert problems([name])[0].startswith(f"{name} 0.0.1 (needs ")

    def gone(asked: str) -> str:
        raise metadata.PackageNotFoundError(asked)

    with monkeypatch.context() as patch:
        patch.setattr(metadata, "version", gone)
        with pytest.raises(PackageError, match=r"Run: pip install -e '\.\[[a-z,]+\]' -c constraints\.txt"):
            require([name], "piqa")
    assert "cannot be imported (no libfoo)" in str(broken(name, "piqa", ImportError("no libfoo")))


def imports(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def test_every_import_is_required_or_of_an_extra_that_is_asked_for():
    """With an undeclared optional import, a result would silently depend on the installed packages."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    required = {canonicalize_name(Requirement(text).name) for text in declared}
    existing = metadata.packages_distributions()
    files = [file for name in OURS for file in (ROOT / name).rglob("*.py")]
    undeclared, unguarded = set(), set()
    for file in files:
        if file.relative_to(ROOT).as_posix().startswith(ELSEWHERE):
            continue
        for module in set(imports(file)) - OURS - sys.stdlib_module_names:
            name = TRANSITIVE.get(module, module)
            names = {canonicalize_name(result) for result in existing.get(name, [name])}
            if names & {canonicalize_name(result) for result in OPTIONAL} - required:
                words = set(file.read_text().replace("(", " ").split())
                if not {"require", "broken"} & words and file.relative_to(ROOT).as_posix() not in GUARDED_BY_CALLERS:
                    unguarded.add(f"{file}: {module}")
            elif not names & (required | OF_THE_USER):
                undeclared.add(f"{file}: {module}")
    assert (undeclared, unguarded) == (set(), set())
