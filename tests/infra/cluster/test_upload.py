"""The package sent with a job equals Ray's, measured to the byte; excluded files; and the error for a package that is
too large."""

import os
import random
from pathlib import Path
from zipfile import ZipFile

import pytest

from infra.cluster.upload import LIMIT_BYTES, UploadError, excludes, measure

AT_HOME = [
    "notes.ipynb",
    "deep/er/tries.ipynb",
    "pages.warc.gz",
    "corpus/part-0.parquet",
    "corpus/part-0.jsonl.zst",
    "weights/model.safetensors",
    "old.tar.gz",
    "results/stages/source/x/manifest.json",
    "deep/results/stages/mix/x/manifest.json",
    "mlruns/0/meta.yaml",
    "mlflow.db",
    "mlflow.db-wal",
    "secret.pem",
    ".env",
    ".env.local",
    ".git/HEAD",
    ".venv/bin/python",
    "pkg/__pycache__/a.pyc",
    ".pytest_cache/x",
    "ignored.txt",
    "deep/own.txt",
]
ALONG = [
    "run.toml",
    "pkg/code.py",
    "pkg/stages/one.py",
    "pkg/terms.tsv",
    "deep/er/more.py",
    ".gitignore",
    "deep/.rayignore",
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    chance = random.Random(1)
    for name in [*AT_HOME, *ALONG]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(chance.randbytes(chance.randrange(1, 3000)))
    (tmp_path / ".gitignore").write_text("ignored.txt\n")
    (tmp_path / "deep" / ".rayignore").write_text("own.txt\n")
    return tmp_path


def test_data_notebooks_stores_and_secrets_stay_at_home(folder: Path):
    assert sorted(measure(folder, excludes(folder)).files) == sorted(ALONG)


@pytest.mark.parametrize(
    ("needed", "more"),
    [
        (["pages.warc.gz"], ["pages.warc.gz"]),
        (["corpus"], ["corpus/part-0.parquet", "corpus/part-0.jsonl.zst"]),
        (["secret.pem", ".env"], []),
    ],
)
def test_what_a_recipe_names_travels_though_it_is_data_and_no_secret_does(folder: Path, needed: list, more: list):
    assert sorted(measure(folder, excludes(folder, needed)).files) == sorted([*ALONG, *more])


def test_the_measure_is_the_size_of_the_package_that_ray_makes(folder: Path, tmp_path: Path):
    from ray._private.runtime_env.packaging import create_package

    patterns = excludes(folder)
    package = tmp_path.parent / f"{tmp_path.name}.zip"
    create_package(str(folder), package, include_gitignore=True, excludes=patterns)
    upload = measure(folder, patterns)
    with ZipFile(package) as packed:
        assert sorted(packed.namelist()) == sorted(upload.files)
    assert package.stat().st_size == upload.num_bytes


def test_a_folder_is_refused_from_the_limit_on_and_its_largest_parts_are_named(folder: Path):
    (folder / "assets" / "film").mkdir(parents=True)
    big, odd = folder / "assets" / "film" / "cut.mov", folder / "dump"
    rest = measure(folder, excludes(folder)).num_bytes
    odd.write_bytes(b"")
    big.write_bytes(b"")
    os.truncate(big, LIMIT_BYTES - rest - 2 * 76 - 2 * len("assets/film/cut.movdump") - 1)
    almost = measure(folder, excludes(folder))
    assert almost.num_bytes == LIMIT_BYTES - 1
    almost.require_sendable()
    odd.write_bytes(b"x")
    with pytest.raises(UploadError) as refused:
        measure(folder, excludes(folder)).require_sendable()
    reported = str(refused.value)
    assert reported.startswith(f"{folder}: 9 files, 100.0 MiB; largest folders: assets/film/ 100.0 MiB, ")
    assert "largest files: assets/film/cut.mov 100.0 MiB" in reported
    assert "less than 100 MiB" in reported and f"{folder}/.gitignore" in reported


def test_a_recipe_needs_itself_its_corpora_and_the_files_they_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from data_recipes.files import needed_files

    monkeypatch.chdir(tmp_path)
    for name in ("recipes/pages/a.warc.gz", "recipes/pages/b.warc.gz", "recipes/other.warc.gz"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "recipes" / "web.toml").write_text(
        'name = "web"\ndescription = "Pages"\n[source]\ninputs = [{ kind = "warc", paths = ["pages/*.warc.gz"] }]\n'
    )
    assert needed_files(Path("recipes/web.toml"), [], tmp_path) == ["recipes/pages", "recipes/web.toml"]


def test_a_class_of_ones_own_travels_with_its_package(tmp_path: Path):
    from data_recipes.files import needed_files

    for name in (
        "recipes/own_rules.py",
        "own_package/__init__.py",
        "own_package/deep/scorer.py",
        "own_package/list.bin",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "recipes" / "web.toml").write_text(
        'name = "web"\ndescription = ""\n[source]\ninputs = [{ kind = "pydoc" }]\n'
        '[score]\nscorers = [{ kind = "own_package.deep.scorer:Scorer" }]\n'
        '[filter]\nrules = [{ kind = "own_rules:Rule" }, { kind = "json:JSONDecoder" }]\n'
    )
    needed = needed_files(tmp_path / "recipes" / "web.toml", [], tmp_path)
    assert needed == ["own_package", "own_package/deep/scorer.py", "recipes/own_rules.py", "recipes/web.toml"]
    sent = measure(tmp_path, excludes(tmp_path, needed))
    sent.require_files(needed)
    assert {"own_package/list.bin", "own_package/__init__.py", "recipes/own_rules.py"} <= set(sent.files)


def test_a_needed_file_that_is_ignored_is_refused(tmp_path: Path):
    (tmp_path / "own_rules.py").touch()
    (tmp_path / ".gitignore").write_text("own_*\n")
    with pytest.raises(
        UploadError, match=r"own_rules.py: the job needs it, and .*.gitignore, .* leaves it out. Remove"
    ):
        measure(tmp_path, excludes(tmp_path, ["own_rules.py"])).require_files(["own_rules.py"])
