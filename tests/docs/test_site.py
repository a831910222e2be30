"""The site builds without a warning, and reads nothing from another machine."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    build = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True
    )
    assert build.returncode == 0, build.stderr
    return folder


def test_every_page_is_built(site):
    pages = [path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("*.md")]
    assert pages
    assert all((site / page.with_suffix(".html")).is_file() for page in pages)


def test_no_page_loads_a_font_script_or_image_from_another_machine(site):
    source = re.compile(r"""<(?:script|img|iframe)[^>]*\ssrc="?(https?:)?//""")
    linked = re.compile(r"""<link(?=[^>]*rel="?(?:stylesheet|preload|preconnect))[^>]*href="?(https?:)?//""")
    for page in site.rglob("*.html"):
        assert not source.search(page.read_text()), page.name
        assert not linked.search(page.read_text()), page.name
    for style in site.rglob("*.css"):
        assert not re.search(r"(?:url\(|@import )[\"']?https?:", style.read_text()), style.name


def test_the_python_reference_has_an_entry_for_each_exported_name(site):
    page = (site / "reference" / "api.html").read_text()
    for package in ("arctic_model", "data_recipes", "infra", "pipelines"):
        # Read from the text: importing `arctic_model` here would test its exports, not the page.
        exported = re.search(r"^__all__ = \[(.*?)\]", (ROOT / package / "__init__.py").read_text(), re.S | re.M)
        for name in re.findall(r'"(\w+)"', exported[1]) if exported else []:
            assert f'id="{package}.{name}"' in page, f"{package}.{name}"
