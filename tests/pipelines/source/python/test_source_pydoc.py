"""pydoc's pages as a crawl: the same bytes twice, nothing of the machine in them, read like any WARC file."""

import shutil
import sys
import tempfile
from pathlib import Path

import pytest

from pipelines.source.python import pydoc_pages
from pipelines.source.python.isolated import run_isolated
from pipelines.source.python.pydoc_pages import module_shards, page_url, write_pages
from pipelines.source.python.standard_library import module_names
from pipelines.source.web.pages import page_document
from pipelines.source.web.warc.responses import read_record, read_responses

# Pages with addresses of functions, of handles, with sys.path, environment and the program's own arguments.
TELLING = ["difflib", "ctypes", "sys", "os", "site", "sysconfig", "platform", "smtplib"]


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    path = tmp_path_factory.mktemp("pydoc") / "one.warc.gz"
    missing = write_pages([*TELLING, "no_such_module_anywhere"], path)
    return path, missing


def test_two_renderings_are_the_same_bytes(pages, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONHASHSEED", "77")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    write_pages([*TELLING, "no_such_module_anywhere"], tmp_path / "two.warc.gz")
    assert (tmp_path / "two.warc.gz").read_bytes() == pages[0].read_bytes()


def test_pages_say_nothing_of_the_machine(pages):
    for response in read_responses(pages[0]):
        html = response.body.decode()
        for location in (sys.prefix, sys.base_prefix, str(Path(pydoc_pages.__file__).parent), " at 0x", "&nbsp;0x7f"):
            assert location not in html, response.url


def test_pages_do_not_depend_on_where_the_renderer_lies(pages, tmp_path, monkeypatch):
    # Long pages are cut: only a path that sorts before the standard library's would show.
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        monkeypatch.setattr(pydoc_pages, "RENDERER", Path(shutil.copy(pydoc_pages.RENDERER, folder)))
        write_pages([*TELLING, "no_such_module_anywhere"], tmp_path / "elsewhere.warc.gz")
    assert (tmp_path / "elsewhere.warc.gz").read_bytes() == pages[0].read_bytes()


def test_modules_that_cannot_be_imported_are_counted_and_the_others_stay(pages):
    responses = list(read_responses(pages[0]))
    assert pages[1] == 1
    assert [response.url for response in responses] == [page_url(module) for module in TELLING]


def test_a_page_becomes_a_readable_document(pages):
    first = page_document(next(read_responses(pages[0])), pages[0].name, "all_text", 0.0)
    assert "class Differ" in first.text
    assert "\nModule difflib -- helpers for computing deltas between objects.\n" in first.text
    assert (first.origin, first.offset) == (pages[0].name, 0)


def test_modules_are_the_public_and_private_library_without_tests_and_windows():
    names = module_names()
    assert {"json", "json.decoder", "zlib", "_thread", "xml.etree.ElementTree", "asyncio.tasks"} <= set(names)
    assert not {"test", "antigravity", "this", "idlelib.run", "tkinter", "turtle", "json.__main__"} & set(names)
    assert not [name for name in names if "test" in name.split(".")]
    assert sorted(name for shard in module_shards() for name in shard) == names


def test_a_renderer_that_fails_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(pydoc_pages, "RENDERER", tmp_path / "missing.py")
    with pytest.raises(RuntimeError, match=r"missing\.py ended with 2"):
        write_pages(["json"], tmp_path / "x.warc.gz")


def test_the_renderer_speaks_one_json_line_a_module():
    lines = run_isolated(pydoc_pages.RENDERER, ["bisect", "no_such_module_anywhere"])
    assert [line["module"] for line in lines] == ["bisect", "no_such_module_anywhere"]
    assert "error" in lines[1]


def test_every_page_can_be_read_by_its_range_alone(pages):
    stored = pages[0].read_bytes()
    for response in read_responses(pages[0]):
        (alone,) = read_record(stored[response.offset : response.offset + response.length], response.offset)
        assert alone == response
