"""The package of `arctic submit` is measured as it will be sent, with the data that recipes name."""

from pathlib import Path

import pytest

from pipelines.submission import largest_upload, measured_upload

RECIPE = """
name = "web"
description = "Pages"
[source]
inputs = [{{ kind = "warc", paths = ["{paths}"] }}]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two recipes, the data of each, and data that none names."""
    for name, size in (("few/a.warc.gz", 10_000), ("many/b.warc.gz", 2_000_000), ("unused/c.warc.gz", 9_000_000)):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"x" * size)
    for name, paths in (("few", "few/*.warc.gz"), ("many", "many/b.warc.gz"), ("absent", "elsewhere/*.warc.gz")):
        (tmp_path / f"{name}.toml").write_text(RECIPE.format(paths=paths))
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    return tmp_path


def test_the_recipe_that_names_most_data_decides_the_size(folder: Path):
    upload, recipe = largest_upload(folder)
    assert recipe == "many.toml"
    assert set(upload.files) == {"few.toml", "many.toml", "absent.toml", "pyproject.toml", "many/b.warc.gz"}
    (folder / "many.toml").unlink()
    assert largest_upload(folder)[1] == "few.toml"
    (folder / "few.toml").unlink()
    upload, recipe = largest_upload(folder)
    assert (set(upload.files), recipe) == ({"absent.toml", "pyproject.toml"}, "")


def test_the_words_name_the_recipe_and_data_beyond_the_limit_is_refused(folder: Path):
    text, fits = measured_upload(folder)
    assert fits
    assert text.startswith(f"{folder}: 5 files, 1.9 MiB") and text.endswith("; with the data that many.toml names")
    with (folder / "few" / "a.warc.gz").open("wb") as file:
        file.truncate(101 * 2**20)
    text, fits = measured_upload(folder)
    assert fits is False
    assert "few/ 101.0 MiB" in text and text.endswith("; with the data that few.toml names")


def test_the_upload_is_measured_against_the_limit_and_the_clock(tmp_path: Path):
    (tmp_path / "big").mkdir()
    with (tmp_path / "big" / "blob").open("wb") as file:
        file.truncate(101 * 2**20)
    text, fits = measured_upload(tmp_path)
    assert fits is False
    assert "big/ 101.0 MiB" in text
    text, fits = measured_upload(tmp_path, timeout_s=0.01)
    assert fits is None
    assert "took more than 0.01 s" in text
