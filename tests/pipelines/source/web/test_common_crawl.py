"""A miniature crawl over HTTP: samples, the cached lists, the index, and documents equal to those read locally."""

import gzip
import hashlib
import itertools
import pickle
import random
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import TypeAdapter, ValidationError

from data_recipes import CorpusRecipe, RecipeError
from data_recipes.lock import Lock
from data_recipes.schema import SourceSection
from data_recipes.sections.inputs import CommonCrawlInput
from pipelines import source
from pipelines.source.from_recipe import plan
from pipelines.source.io.ranged_file import RangedFile
from pipelines.source.web.common_crawl import sample
from pipelines.source.web.crawl_index import MAX_GAP_BYTES, MAX_RANGE_BYTES, RecordLocation, find_records, ranges
from pipelines.source.web.warc.responses import read_responses

CRAWL = "CC-MAIN-2024-51"
LISTS = f"/crawl-data/{CRAWL}"
SITES = {"a.example.org": "eng", "b.example.org": "deu,eng", "shop.co.uk": "eng", "www.zoo.net": None, "ab.org": "fra"}


def page(host: str, number: int) -> tuple[bytes, str]:
    text = f"<p>Page {number} of {host} tells of the river and the town, and what was seen there in the night.</p>"
    return f"<html><body>{text * 3}</body></html>".encode(), f"https://{host}/{number}"


@pytest.fixture
def crawl(server, warc, tmp_path, monkeypatch, waits):
    """Six WARC files of all sites on the server, with their lists and an index in two files."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "local"
    folder.mkdir()
    rows = []
    for number in range(6):
        name = f"crawl-data/{CRAWL}/segments/1/warc/CC-MAIN-{number:05d}.warc.gz"
        path = folder / name.rpartition("/")[2]
        pages = [page(host, 10 * number + n) for n in range(3) for host in SITES]
        path.write_bytes(b"".join(gzip.compress(warc.record(warc.http(html), url)) for html, url in pages))
        server.files[f"/{name}"] = path.read_bytes()
        rows += [index_row(name, response) for response in read_responses(path)]
    rows.sort(key=lambda row: row["url"].split("/")[2].split(".")[::-1])
    index = [f"cc-index/table/cc-main/warc/crawl={CRAWL}/subset=warc/part-{n}.parquet" for n in range(2)]
    for name, half in zip(index, (rows[:45], rows[45:]), strict=True):
        pq.write_table(pa.Table.from_pylist(half), tmp_path / "index.parquet", row_group_size=9)
        server.files[f"/{name}"] = (tmp_path / "index.parquet").read_bytes()
    warcs = [path[1:] for path in server.files if path.endswith(".warc.gz")]
    lists = {"warc.paths.gz": warcs, "cc-index-table.paths.gz": [*index, index[0].replace("=warc", "=robotstxt")]}
    server.files |= {f"{LISTS}/{name}": gzip.compress("\n".join(names).encode()) for name, names in lists.items()}
    return server


def index_row(name: str, response) -> dict:
    host = response.url.split("/")[2]
    domain = host if host.count(".") == 1 or host.endswith(".co.uk") else host.partition(".")[2]
    location = {"warc_filename": name, "warc_record_offset": response.offset, "warc_record_length": response.length}
    reported = {"url_host_registered_domain": domain, "content_languages": SITES[host]}
    return {"url": response.url, **reported, **location, "content_digest": "not read" * 20}


@pytest.fixture
def section(crawl):
    def section(limit: float = 0.05, **fields: object) -> SourceSection:
        item = {"kind": "common_crawl", "crawl": CRAWL, "base_url": crawl.url, **fields}
        page = {"inputs": [item], "extractor": "all_text", "max_quarantined_fraction": limit}
        return TypeAdapter(SourceSection).validate_python(page)

    return section


@pytest.fixture
def build(attempt, tmp_path):
    def build(selected: SourceSection, name: str = "store") -> list[dict]:
        made = attempt(source.stage("web", selected, source.fingerprint(selected, tmp_path), tmp_path), name)
        build.made = made
        paths = sorted(made.artifact.path.rglob("documents/*"))
        return [row for path in paths for row in pq.read_table(path).to_pylist()]

    return build


@pytest.fixture
def local(build, crawl):
    """The documents of all six files, read on this machine."""
    whole = {"inputs": [{"kind": "warc", "paths": ["local"]}], "extractor": "all_text"}
    return build(TypeAdapter(SourceSection).validate_python(whole), "local-store")


def told(rows: list[dict]) -> list[tuple]:
    """The result of the same record in any file; of the origin the file's own name."""
    names = ("url", "offset", "length", "text", "date", "split")
    return sorted((row["origin"].rpartition("/")[2], *(row[name] for name in names)) for row in rows)


def test_all_files_over_http_give_the_documents_of_the_local_files(build, section, local, crawl, respond):
    path = next(path for path in crawl.files if path.endswith("3.warc.gz"))
    crawl.script[path] = [respond.status(503, Retry_After=2), respond.truncated(70), respond.truncated(70)]
    rows = build(section(fraction=1.0))
    assert told(rows) == told(local) and len(rows) == 6 * 3 * len(SITES)
    assert {"/" + row["origin"] for row in rows} == {path for path in crawl.files if path.endswith(".warc.gz")}


def test_the_plain_text_that_common_crawl_made_is_a_crawl_of_its_own(build, section, crawl, warc, tmp_path):
    texts = [f"Title {number}\nA line of text about the river and its town.".encode() for number in range(3)]
    records = [
        warc.record(text, f"https://example.org/{number}", "conversion", "text/plain")
        for number, text in enumerate(texts)
    ]
    name = f"crawl-data/{CRAWL}/segments/1/wet/CC-MAIN-00000.warc.wet.gz"
    crawl.files[f"/{name}"] = b"".join(map(gzip.compress, records))
    crawl.files[f"{LISTS}/wet.paths.gz"] = gzip.compress(name.encode())
    rows = build(section(fraction=1.0, subset="wet"))
    assert [row["text"].encode() for row in rows] == texts and {row["origin"] for row in rows} == {name}


def test_a_sample_is_reproducible_and_grows_by_seed(crawl, section, tmp_path):
    def names(**fields: object) -> list[str]:
        return source.fingerprint(section(**fields), tmp_path)["inputs"][0]["files"]

    grown = [names(num_files=count, seed=7) for count in range(1, 7)]
    assert [len(selected) for selected in grown] == [1, 2, 3, 4, 5, 6]
    for fewer, more in itertools.pairwise(grown):
        assert set(fewer) < set(more)
    assert names(fraction=0.5, seed=7) == names(num_files=3, seed=7) == grown[2]
    assert len({tuple(names(num_files=3, seed=seed)) for seed in range(9)}) > 1
    item = section(num_files=3, seed=7).inputs[0]
    assert sample(grown[5][::-1], item) == grown[2]


def test_the_lists_are_fetched_once_and_then_a_plan_needs_no_network(crawl, section, tmp_path):
    selected = section(num_files=2, domains=["example.org"])
    fingerprints = source.fingerprint(selected, tmp_path)["inputs"][0]
    assert [path for path, _ in crawl.requests] == [f"{LISTS}/warc.paths.gz", f"{LISTS}/cc-index-table.paths.gz"]
    for name, digest in fingerprints["lists"].items():
        assert digest == hashlib.sha256(crawl.files[f"{LISTS}/{name}"]).hexdigest()
    assert len(fingerprints["index_files"]) == 2
    crawl.files.clear()
    crawl.requests.clear()
    again = source.fingerprint(selected, tmp_path)
    assert again["inputs"][0] == fingerprints
    shards = [each.reader for each in plan(selected, again, tmp_path)]
    assert len(shards) == 2 and crawl.requests == []
    assert pickle.loads(pickle.dumps(shards)) == shards  # noqa: S301 - how they travel to workers
    assert not list((tmp_path / "cache").rglob(".*"))


def test_a_list_that_changed_since_the_lock_is_an_error(crawl, section, tmp_path):
    recipe = CorpusRecipe(name="web", description="", source=section(num_files=2))
    lock = Lock(None, {"web": recipe}, {"web": source.fingerprint(recipe.source, tmp_path)}, {"web": "/here"})
    lock = Lock.from_json(lock.to_json(), tmp_path / "lock.json")
    lock.require_fingerprints(
        replace(lock, fingerprints={"web": source.fingerprint(recipe.source, tmp_path)}), tmp_path / "lock.json"
    )
    for remaining in (tmp_path / "cache").rglob("*.gz"):
        remaining.unlink()
    names = gzip.decompress(crawl.files[f"{LISTS}/warc.paths.gz"])
    crawl.files[f"{LISTS}/warc.paths.gz"] = gzip.compress(names + b"\nanother.warc.gz")
    with pytest.raises(RecipeError, match="the inputs of web are not the ones that were locked"):
        lock.require_fingerprints(
            replace(lock, fingerprints={"web": source.fingerprint(recipe.source, tmp_path)}), tmp_path / "lock.json"
        )


def test_where_the_crawl_is_fetched_from_is_not_in_the_key(crawl, section, tmp_path):
    keys = set()
    for base_url in (crawl.url, crawl.url.replace("127.0.0.1", "localhost") + "/"):
        selected = section(num_files=2, base_url=base_url)
        keys.add(source.stage("web", selected, source.fingerprint(selected, tmp_path), tmp_path).key)
    assert len(keys) == 1


@pytest.mark.parametrize(
    ("wanted", "hosts"),
    [
        ({"domains": ["example.org"]}, {"a.example.org", "b.example.org"}),
        ({"domains": ["shop.co.uk", "zoo.net"]}, {"shop.co.uk", "www.zoo.net"}),
        ({"languages": ["eng"]}, {"a.example.org", "b.example.org", "shop.co.uk"}),
        ({"languages": ["fra", "deu"]}, {"b.example.org", "ab.org"}),
        ({"domains": ["example.org", "ab.org"], "languages": ["deu"]}, {"b.example.org"}),
    ],
)
@pytest.mark.parametrize("num_files", [2, 6])
def test_the_index_leads_to_exactly_the_records_of_domains_and_languages(
    build, section, local, tmp_path, wanted, hosts, num_files
):
    selected = section(num_files=num_files, seed=3, **wanted)
    files = {name.rpartition("/")[2] for name in source.fingerprint(selected, tmp_path)["inputs"][0]["files"]}
    expected = [row for row in local if row["url"].split("/")[2] in hosts and row["origin"] in files]
    assert len(expected) == 3 * len(hosts) * num_files
    assert told(build(selected)) == told(expected)


def test_of_the_index_only_the_row_groups_and_columns_that_are_needed_are_fetched(server, tmp_path, waits):
    draw = random.Random(0)
    rows = [
        {
            "url": draw.randbytes(200).hex(),
            "url_host_registered_domain": f"{number // 50:03d}.org",
            "content_languages": None,
            "warc_filename": f"{draw.randrange(9)}.warc.gz",
            "warc_record_offset": draw.randrange(10**9),
            "warc_record_length": number,
        }
        for number in range(5000)
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "index.parquet", row_group_size=250)
    server.files["/index"] = (tmp_path / "index.parquet").read_bytes()
    (result,) = find_records(RangedFile(f"{server.url}/index"), ["033.org", "absent.org"], [])
    assert result == sorted(
        RecordLocation(row["warc_filename"], row["warc_record_offset"], row["warc_record_length"])
        for row in rows
        if row["url_host_registered_domain"] == "033.org"
    )
    bounds = [stated.removeprefix("bytes=").split("-") for stated in server.ranges("/index")]
    fetched = sum(int(last) - int(first) + 1 for first, last in bounds)
    assert fetched < len(server.files["/index"]) / 10


def test_neighbouring_records_come_with_one_request(build, crawl, section):
    build(section(num_files=1, languages=["eng", "deu", "fra"], limit=0.0))
    (path,) = {path for path, _ in crawl.requests if path.endswith(".warc.gz")}
    assert len(crawl.ranges(path)) < 15


def test_ranges_hold_every_record_once_within_their_limits():
    locations = sorted(
        RecordLocation(f"{file}", offset, length)
        for file in "ab"
        for offset, length in [(0, 10), (10, 5), (15 + MAX_GAP_BYTES, 7), (23 + 2 * MAX_GAP_BYTES, 9), (10**8, 2**24)]
    )
    groups = list(ranges(locations))
    assert [location for group in groups for location in group] == locations
    assert [len(group) for group in groups] == [3, 1, 1, 3, 1, 1]
    wide = [RecordLocation("a", start, 2**20) for start in range(0, 2**26, 2**20)]
    assert all(group[-1].end - group[0].offset == MAX_RANGE_BYTES for group in ranges(wide))


def test_records_whose_range_stays_bad_are_set_aside_one_by_one(build, crawl, section, respond):
    path = next(path for path in crawl.files if path.endswith("0.warc.gz"))
    crawl.script[path] = [respond.status(404)]
    rows = build(section(fraction=1.0, domains=["shop.co.uk"], limit=0.9))
    lost = build.made.quarantined
    assert lost and len(rows) + len(lost) == 18
    assert all(entry["origin"].startswith(f"{path[1:]}:") and "status 404" in entry["reason"] for entry in lost)


@pytest.mark.parametrize(
    ("broken", "reason"),
    [(lambda content: content[:-40], "unreadable index: "), (None, "status 404")],
)
def test_an_index_file_that_stays_bad_is_a_lost_file(build, crawl, section, broken, reason):
    path = next(path for path in crawl.files if path.endswith("part-0.parquet"))
    content = crawl.files.pop(path)
    if broken:
        crawl.files[path] = broken(content)
    build(section(num_files=6, languages=["eng", "fra"], limit=0.5))
    assert build.made.metrics["data/lost_files"] == 1
    (entry,) = build.made.quarantined
    assert entry["origin"] == path[1:] and reason in entry["reason"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_files": 7}, "num_files = 7: CC-MAIN-2024-51 has 6 warc files. Take fewer"),
        ({"num_files": 1, "crawl": "CC-MAIN-2024-50"}, r"CC-MAIN-2024-50/warc.paths.gz: status 404. Correct crawl or"),
        ({"num_files": 1, "base_url": "http://127.0.0.1:9/"}, "no connection, at the last .* the list is kept"),
    ],
)
def test_what_cannot_be_sampled_is_an_error_before_anything_starts(section, tmp_path, fields, message):
    with pytest.raises(RecipeError, match=rf"source.inputs.1..*{message}"):
        source.fingerprint(section(**fields), tmp_path)


def test_a_page_of_html_instead_of_a_list_is_not_kept(section, crawl, tmp_path):
    sound = crawl.files[f"{LISTS}/warc.paths.gz"]
    crawl.files[f"{LISTS}/warc.paths.gz"] = b"<html>please log in</html>"
    with pytest.raises(RecipeError, match="is no gzipped list of files"):
        source.fingerprint(section(num_files=1), tmp_path)
    crawl.files[f"{LISTS}/warc.paths.gz"] = sound
    source.fingerprint(section(num_files=1), tmp_path)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "give exactly one of the two"),
        ({"fraction": 0.5, "num_files": 2}, "give exactly one of the two"),
        ({"num_files": 2, "subset": "wet", "languages": ["eng"]}, "the index has no WET records"),
        ({"num_files": 2, "languages": ["en"]}, "languages"),
        ({"num_files": 2, "domains": ["https://example.org/"]}, "domains"),
        ({"num_files": 2, "crawl": "2024-51"}, "crawl"),
    ],
)
def test_contradictions_in_a_recipe_are_named(fields, message):
    with pytest.raises(ValidationError, match=message):
        CommonCrawlInput.model_validate({"kind": "common_crawl", "crawl": CRAWL, **fields})
