"""Resolution of a recipe's inputs: digests that fix content and not location, and errors with the remedy."""

import hashlib
import os

import pytest
from pydantic import TypeAdapter

from data_recipes import RecipeError
from data_recipes.schema import SourceSection
from infra.stage import canonical_json
from pipelines import source
from pipelines.source.from_recipe import left_out, plan
from pipelines.source.python.pydoc_pages import PydocPages
from pipelines.source.text_to_sql.generator import SqlSchemas
from pipelines.source.web.warc_files import WarcFile


def section(*inputs: dict, **fields: object) -> SourceSection:
    return TypeAdapter(SourceSection).validate_python({"inputs": list(inputs), **fields})


def warc_paths(*paths: str) -> SourceSection:
    return section({"kind": "warc", "paths": list(paths)})


@pytest.fixture
def crawl(tmp_path, warc):
    for name, pages in (("crawl/b.warc.gz", 2), ("crawl/deep/a.warc.gz", 1), ("crawl/note.txt", 1)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"".join(warc.crawl(pages)))
    return tmp_path


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["crawl/b.warc.gz"], ["b.warc.gz"]),
        (["crawl"], ["a.warc.gz", "b.warc.gz"]),
        (["crawl/*.warc.gz"], ["b.warc.gz"]),
        (["crawl/**/*.warc.gz"], ["a.warc.gz", "b.warc.gz"]),
        (["crawl/b.warc.gz", "crawl", "crawl/../crawl/b.*"], ["a.warc.gz", "b.warc.gz"]),
        (["{here}/crawl/b.warc.gz"], ["b.warc.gz"]),
        (["{here}/crawl/*/*.gz"], ["a.warc.gz"]),
    ],
)
def test_files_folders_and_globs_give_each_file_once_in_order_of_names(crawl, paths, names):
    selected = warc_paths(*(path.format(here=crawl) for path in paths))
    fingerprints = source.fingerprint(selected, crawl)
    assert list(fingerprints["inputs"][0]["files"]) == names
    parts = [each.reader for each in plan(selected, fingerprints, crawl)]
    assert [part.file.name for part in parts if isinstance(part, WarcFile)] == names
    for part in parts:
        assert part.fingerprint == hashlib.sha256(part.file.path.read_bytes()).hexdigest()


HIDDEN = ("._b.warc.gz", ".ipynb_checkpoints/b.warc.gz", "deep/.a.warc.gz", ".git/objects/c.warc.gz")


@pytest.mark.parametrize(
    ("path", "hidden"),
    [
        *((path, []) for path in ("crawl", "crawl/*.gz", "crawl/**/*.gz", "crawl/**", "crawl/*/*.gz", "{here}/crawl")),
        ("crawl/._b.warc.gz", ["._b.warc.gz"]),
        ("crawl/._*", ["._b.warc.gz"]),
        ("crawl/.git", ["c.warc.gz"]),
        ("crawl/.git/**/*.gz", ["c.warc.gz"]),
        ("crawl/**/.*.gz", ["._b.warc.gz", ".a.warc.gz"]),
    ],
)
def test_hidden_files_are_read_only_if_the_path_names_them(crawl, path, hidden):
    for name in HIDDEN:
        (crawl / "crawl" / name).parent.mkdir(parents=True, exist_ok=True)
        (crawl / "crawl" / name).write_bytes(name.encode())
    (crawl / "crawl/.#b.warc.gz").symlink_to("nobody@nowhere")
    names = list(source.fingerprint(warc_paths(path.format(here=crawl)), crawl)["inputs"][0]["files"])
    assert [name for name in names if name not in ("a.warc.gz", "b.warc.gz")] == hidden
    assert hidden or names
    assert not left_out(warc_paths("crawl"), crawl)


def test_the_key_follows_content_and_not_the_folder(crawl, tmp_path):
    here = warc_paths("crawl")
    elsewhere = warc_paths("moved/a.warc.gz", "moved/b.warc.gz")
    (tmp_path / "moved").mkdir()
    for name in ("crawl/b.warc.gz", "crawl/deep/a.warc.gz"):
        (tmp_path / "moved" / name.rpartition("/")[2]).write_bytes((crawl / name).read_bytes())
    keys = [source.stage("web", each, source.fingerprint(each, crawl), crawl).key for each in (here, elsewhere)]
    assert keys[0] == keys[1]
    (tmp_path / "moved" / "a.warc.gz").write_bytes(b"other")
    assert source.stage("web", elsewhere, source.fingerprint(elsewhere, crawl), crawl).key != keys[0]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("crawl/c.warc.gz", r"source.inputs.1.paths.1 = 'crawl/c.warc.gz': no such file or folder"),
        ("crawl/*.warc.zip", r"paths.1 = 'crawl/\*.warc.zip': the glob holds no WARC file"),
        ("empty", r"paths.1 = 'empty': the folder holds no WARC file"),
        ("crawl/note.txt", r"paths.1 = 'crawl/note.txt': not a WARC file, whose names end in .warc, .warc.gz,"),
    ],
)
def test_a_path_that_leads_to_no_warc_file_is_an_error(crawl, path, message):
    (crawl / "empty").mkdir()
    with pytest.raises(RecipeError, match=message):
        source.fingerprint(warc_paths(path), crawl)


def test_the_plan_has_the_files_that_were_pinned_and_no_others(crawl):
    selected = warc_paths("crawl")
    fingerprints = source.fingerprint(selected, crawl)
    (crawl / "crawl/later.warc.gz").write_bytes(b"not pinned")
    assert [each.reader.file.name for each in plan(selected, fingerprints, crawl)] == ["a.warc.gz", "b.warc.gz"]
    (crawl / "crawl/b.warc.gz").unlink()
    with pytest.raises(RuntimeError, match=r"b.warc.gz is gone since the run was planned"):
        plan(selected, fingerprints, crawl)


def test_files_of_one_name_are_traced_by_their_folders(crawl):
    (crawl / "crawl/deep/b.warc.gz").write_bytes(b"another")
    selected = warc_paths("crawl")
    fingerprints = source.fingerprint(selected, crawl)
    names = ["a.warc.gz", "b.warc.gz", "deep/b.warc.gz"]
    assert list(fingerprints["inputs"][0]["files"]) == names
    parts = [each.reader for each in plan(selected, fingerprints, crawl)]
    assert [(part.file.name, part.file.path.relative_to(crawl / "crawl").as_posix()) for part in parts] == [
        ("a.warc.gz", "deep/a.warc.gz"),
        ("b.warc.gz", "b.warc.gz"),
        ("deep/b.warc.gz", "deep/b.warc.gz"),
    ]


def test_files_of_one_name_in_two_inputs_or_two_places_have_names_of_their_own(crawl):
    (crawl / "crawl/deep/b.warc.gz").write_bytes(b"another")
    locations = ("crawl/b.warc.gz", "crawl/deep/b.warc.gz")
    twice = section(*({"kind": "warc", "paths": [path]} for path in locations))
    files = [list(result["files"]) for result in source.fingerprint(twice, crawl)["inputs"]]
    assert files == [["b.warc.gz"], ["deep/b.warc.gz"]]
    assert [each.reader.file.name for each in plan(twice, source.fingerprint(twice, crawl), crawl)] == [
        "b.warc.gz",
        "deep/b.warc.gz",
    ]
    together = warc_paths(*locations)
    assert list(source.fingerprint(together, crawl)["inputs"][0]["files"]) == ["crawl/b.warc.gz", "deep/b.warc.gz"]


def test_a_file_of_two_inputs_is_an_error(crawl):
    twice = section(*({"kind": "warc", "paths": [path]} for path in ("crawl/b.warc.gz", "crawl")))
    with pytest.raises(RecipeError, match=r"inputs.2.paths: b.warc.gz belongs to an earlier input too"):
        source.fingerprint(twice, crawl)


def test_a_later_file_of_the_same_name_takes_no_pinned_name(crawl):
    selected = warc_paths("crawl")
    fingerprints = source.fingerprint(selected, crawl)
    (crawl / "crawl/aa").mkdir()
    (crawl / "crawl/aa/a.warc.gz").write_bytes(b"later")
    parts = [each.reader for each in plan(selected, fingerprints, crawl)]
    assert [part.file.path.parent.name for part in parts] == ["deep", "crawl"]


@pytest.mark.parametrize("path", ["crawl", "crawl/**/*.gz", "crawl/**"])
def test_links_to_folders_are_followed_once_and_broken_ones_are_named(crawl, path):
    (crawl / "elsewhere/more").mkdir(parents=True)
    (crawl / "elsewhere/more/c.warc.gz").write_bytes(b"c")
    for link, target in (("linked", "../elsewhere"), ("again", "../elsewhere"), ("deep/up", "..")):
        (crawl / "crawl" / link).symlink_to(target)
    (crawl / "elsewhere/loop").symlink_to("..")
    (crawl / "crawl/gone.warc.gz").symlink_to("nothing.warc.gz")
    (crawl / "crawl/self.warc.gz").symlink_to("self.warc.gz")
    (crawl / "crawl/there").symlink_to("back")
    (crawl / "crawl/back").symlink_to("there")
    selected = warc_paths(path)
    assert list(source.fingerprint(selected, crawl)["inputs"][0]["files"]) == ["a.warc.gz", "b.warc.gz", "c.warc.gz"]
    broken = left_out(warc_paths("crawl"), crawl)
    assert [name.rpartition("/")[2] for name in broken] == ["gone.warc.gz", "self.warc.gz"]


def test_a_name_that_is_no_utf8_is_read_and_written_with_its_bytes_escaped(crawl):
    name = b"caf\xe9.warc.gz"
    (crawl / "crawl" / os.fsdecode(name)).write_bytes(b"c")
    selected = warc_paths("crawl")
    fingerprints = source.fingerprint(selected, crawl)
    assert list(fingerprints["inputs"][0]["files"]) == ["a.warc.gz", "b.warc.gz", "caf\\xe9.warc.gz"]
    source.stage("web", selected, fingerprints, crawl).key.encode()
    part = plan(selected, fingerprints, crawl)[-1].reader
    assert part.file.fetch(part.fingerprint, crawl).read_bytes() == b"c"


def test_endings_are_known_in_capitals_too(crawl):
    (crawl / "crawl/C.WARC.GZ").write_bytes(b"c")
    assert "C.WARC.GZ" in source.fingerprint(warc_paths("crawl"), crawl)["inputs"][0]["files"]


def test_a_distribution_that_is_not_installed_is_named_with_its_place(tmp_path):
    missing = section({"kind": "pydoc"}, {"kind": "python_sources", "distributions": ["no-such-thing"]})
    with pytest.raises(RecipeError, match=r"source.inputs.2.distributions has 'no-such-thing'"):
        source.fingerprint(missing, tmp_path)


def test_fingerprints_are_plain_data_and_the_plan_deals_out_everything_once(tmp_path):
    generated = {
        "kind": "text_to_sql",
        "num_schemas": 3100,
        "num_heldout_schemas": 10,
        "pairs_per_schema": 2,
        "seed": 0,
    }
    selected = section({"kind": "pydoc"}, generated)
    fingerprints = source.fingerprint(selected, tmp_path)
    canonical_json(fingerprints)
    parts = [each.reader for each in plan(selected, fingerprints, tmp_path)]
    slices = [(part.heldout, part.first, part.last) for part in parts if isinstance(part, SqlSchemas)]
    assert slices == [(False, 0, 1500), (False, 1500, 3000), (False, 3000, 3100), (True, 0, 10)]
    warc_files = [part.file_name for part in parts if isinstance(part, PydocPages)]
    assert len(warc_files) > 1 and len(set(warc_files)) == len(warc_files)
