"""Sources and descriptions of installed distributions, with the licence from whichever field their metadata has."""

from importlib.metadata import Distribution, PathDistribution, distribution
from pathlib import Path

import pytest

from pipelines.source.errors import InputError
from pipelines.source.python.distributions import describe, installed_distributions
from pipelines.source.python.packages import licence
from pipelines.source.python.python_sources import (
    SourceFile,
    distribution_sources,
    fingerprint_sources,
    library_sources,
    read_source,
)
from pipelines.source.python.standard_library import fingerprint_library


def installed(tmp_path: Path, metadata: str) -> Distribution:
    folder = tmp_path / "thing-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.4\nName: thing\nVersion: 1.0\n{metadata}\n")
    return PathDistribution(folder)


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ("License-Expression: MIT OR Apache-2.0\nLicense: ignored", "MIT OR Apache-2.0"),
        ("Classifier: License :: OSI Approved :: MIT License\nLicense: long text", "MIT License"),
        (
            "Classifier: License :: OSI Approved :: MIT License\nClassifier: License :: OSI Approved :: BSD License",
            "MIT License AND BSD License",
        ),
        ("License: BSD 3-Clause\n        Copyright (c) somebody", "BSD 3-Clause"),
        ("Summary: says nothing", None),
    ],
)
def test_the_licence_comes_from_the_first_field_that_has_one(tmp_path, metadata, expected):
    assert licence(installed(tmp_path, metadata)) == expected


def test_every_description_is_a_document_with_its_version():
    names = installed_distributions()
    assert "pyarrow" in names and "arctic-pretraining" not in names
    result = describe("typer", 0.0)
    assert result.origin == f"typer {distribution('typer').version}"
    assert result.url == f"pkg:pypi/typer@{distribution('typer').version}"
    assert "CLI" in result.text and result.licence


def test_a_distributions_sources_have_text_licence_and_no_tests():
    files = distribution_sources("datasketch")
    assert {file.licence for file in files} == {licence(distribution("datasketch"))}
    assert all(file.path.is_file() for file in files)
    assert not [file for file in files if "test" in Path(file.url).parts]
    result = next(file for file in files if file.url.endswith("#datasketch/minhash.py"))
    assert read_source(result, 0.0).text == result.path.read_text(encoding="utf-8")


def test_the_library_is_listed_without_tests_and_site_packages():
    urls = [file.url.partition("#")[2] for file in library_sources()]
    assert {"json/decoder.py", "argparse.py"} <= set(urls)
    assert not [url for url in urls if "site-packages" in url or "/test/" in url or url.startswith("test/")]
    assert urls == sorted(urls, key=lambda url: Path(url))


def test_a_file_is_decoded_by_its_own_coding_line(tmp_path):
    path = tmp_path / "old.py"
    path.write_bytes("# -*- coding: latin-1 -*-\nname = 'Müller'\r\n".encode("latin-1"))
    result = read_source(SourceFile(path, "pkg:x#old.py", "x 1", "MIT"), 0.0)
    assert result.text == "# -*- coding: latin-1 -*-\nname = 'Müller'\n"


@pytest.mark.parametrize("data", [b"x = '\xff\xfe'\n", b"# coding: no-such-charset\n"])
def test_a_file_that_is_no_text_raises(tmp_path, data):
    (tmp_path / "bad.py").write_bytes(data)
    with pytest.raises((SyntaxError, UnicodeDecodeError)):
        read_source(SourceFile(tmp_path / "bad.py", "pkg:x#bad.py", "x 1", None), 0.0)


def test_a_distribution_that_is_missing_or_has_no_list_of_files_is_an_error(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="'no-such-thing', which is not installed"):
        distribution_sources("no-such-thing")
    installed(tmp_path, "")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match=r"'thing', whose list of files \(RECORD\) is missing"):
        fingerprint_sources("thing")


def test_a_fingerprint_changes_with_the_files_and_only_with_them(tmp_path, monkeypatch):
    folder = tmp_path / "thing-1.0.dist-info"
    installed(tmp_path, "")
    (tmp_path / "thing").mkdir()
    (tmp_path / "thing" / "a.py").touch()
    (folder / "RECORD").write_text("thing/a.py,sha256=abc,3\n../../../bin/thing,sha256=one,9\nthing/tests/b.py,,\n")
    monkeypatch.syspath_prepend(tmp_path)
    before = fingerprint_sources("thing")
    (folder / "RECORD").write_text("thing/a.py,sha256=abc,3\n../../../bin/thing,sha256=two,9\n")
    assert fingerprint_sources("thing") == before
    (folder / "RECORD").write_text("thing/a.py,sha256=abd,3\n")
    assert fingerprint_sources("thing") != before
    assert fingerprint_library() == fingerprint_library()
