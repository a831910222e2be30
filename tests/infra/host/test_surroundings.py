"""Paths, accounts, disks and proxies as they are on other people's machines."""

import errno
import os
from pathlib import Path

import pytest

from infra.context import StageContext
from infra.events import EventLog, read_events
from infra.fanout import ShardResult, forget_shards, map_shards
from infra.host.surroundings import (
    SOCKET_PATH_BYTES,
    bypass_proxies_on_loopback,
    home_error,
    prepare,
    proxies,
    ray_folder,
)
from infra.host.web import connections, proxy_of
from infra.runner import build
from infra.stage import Stage
from infra.store import Store, StoreError, link_or_copy
from infra.tracking.database import artifact_root, tracking_uri

NAMES = ["plain", "a b", "h#1", "q?1", "p%20x", "p%41", "100%", "ü", "a:b", "a@b", "a&b=c", "a%3Fb?c#d e"]


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An environment without home, name and proxies; temporary files go to the returned folder."""
    for name in [name for name in os.environ if name.lower().endswith("_proxy") or name.startswith("XDG_")]:
        monkeypatch.delenv(name)
    for name in ("HOME", "USER", "LOGNAME", "USERNAME", "LNAME", "RAY_TMPDIR", "TMPDIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_mlflow_keeps_its_files_inside_a_store_of_any_name(tmp_path: Path, name: str):
    from mlflow import MlflowClient

    store = tmp_path / name / "store"
    store.mkdir(parents=True)
    client = MlflowClient(tracking_uri(store))
    experiment = client.create_experiment("x", f"{artifact_root(store)}/x")
    run = client.create_run(experiment).info.run_id
    client.log_text(run, "words", "notes/a.txt")
    assert [file.path for file in client.list_artifacts(run, "notes")] == ["notes/a.txt"]
    assert (store / "mlflow.db").is_file()
    assert (store / "mlartifacts" / "x" / run / "artifacts" / "notes" / "a.txt").read_text() == "words"
    assert [path.name for path in tmp_path.iterdir()] == [name], "nothing beside the folder"


@pytest.mark.parametrize("refusal", [errno.EPERM, errno.EOPNOTSUPP, errno.EXDEV, errno.EMLINK, errno.ENOSYS])
def test_a_file_system_without_hard_links_gets_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusal: int):
    def refuse(*_: object) -> None:
        raise OSError(refusal, os.strerror(refusal))

    monkeypatch.setattr(os, "link", refuse)
    (tmp_path / "one").write_bytes(b"content")
    link_or_copy(tmp_path / "one", tmp_path / "two")
    assert (tmp_path / "two").read_bytes() == b"content"


def test_a_folder_with_files_still_open_neither_stops_a_stage_nor_stays_in_its_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """NFS and FUSE rename an open file that is removed, so that its folder cannot be removed."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY))

    def list_and_merge(context: StageContext, _: object) -> dict[str, float]:
        map_shards(context, lambda shard, folder: write(folder / "parts" / f"{shard}.txt"), [1, 2])
        context.discard(context.out / "parts")
        forget_shards(context, [0])
        map_shards(context, lambda shard, folder: write(folder / "parts" / f"{shard}.txt"), [1, 2])
        context.discard(context.out / "parts")
        (context.out / "merged.txt").write_text("both")
        return {}

    monkeypatch.setattr(os, "rmdir", refuse)
    store = Store(tmp_path / "store").open()
    made = build(Stage("dedup", "web", 1, {}, {}, list_and_merge), store, [].append, None)
    assert list(made.digests) == ["merged.txt"]


def write(file: Path) -> ShardResult:
    file.parent.mkdir(parents=True)
    file.write_text("part")
    return ShardResult({})


def test_a_full_disk_is_one_message_and_leaves_whole_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    store = Store(tmp_path / "store").open()
    log = EventLog(store.root / "runs" / "one")
    log.append({"event": "run_started"})
    write = os.write
    answers = iter([5])

    def nearly_full(descriptor: int, content: bytes) -> int:
        for size in answers:
            return write(descriptor, content[:size])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", nearly_full)
    with pytest.raises(StoreError, match=r"store .*store: the disk is full .* Free space or give --store") as raised:
        log.append({"event": "run_finished"})
    assert raised.value.__cause__ is None
    monkeypatch.setattr(os, "write", write)
    log.append({"event": "run_finished"})
    assert [event["event"] for event in read_events(log.folder)] == ["run_started", "run_finished"]


def test_an_error_of_the_disk_in_a_store_names_the_store(tmp_path: Path):
    store = Store(tmp_path / "store").open()
    with pytest.raises(StoreError, match="the disk is full"), store.writing():
        raise OSError(errno.EDQUOT, "Disk quota exceeded")
    with pytest.raises(PermissionError), store.writing():
        raise PermissionError(errno.EACCES, "Permission denied")


@pytest.mark.parametrize("home", [None, "/", "/nowhere/at/all"])
def test_without_a_home_a_private_folder_takes_its_place(bare: Path, monkeypatch: pytest.MonkeyPatch, home: str | None):
    if home:
        monkeypatch.setenv("HOME", home)
    monkeypatch.setattr("pwd.getpwuid", lambda uid: {}[uid])
    monkeypatch.setattr(os, "access", lambda path, mode: str(path).startswith(str(bare)))
    assert home_error() is not None
    for name in ("USER", "HOME"):
        monkeypatch.setenv(name, os.environ.get(name, ""))
    prepare()
    assert os.environ["HOME"] == str(bare / f"arctic-{os.getuid()}")
    assert os.environ["USER"] == f"uid-{os.getuid()}"
    assert Path(os.environ["HOME"]).stat().st_mode & 0o777 == 0o700


def test_a_temporary_folder_too_long_for_sockets_is_left_out(bare: Path, monkeypatch: pytest.MonkeyPatch):
    deep = bare / ("d" * 90)
    deep.mkdir()
    monkeypatch.setenv("TMPDIR", str(deep))
    selected = ray_folder()
    assert selected is not None
    assert len(f"{selected}/ray/session_2026-01-01_00-00-00_000000_0000000/sockets/plasma_store") < SOCKET_PATH_BYTES


@pytest.mark.parametrize(
    ("variables", "url", "proxy"),
    [
        ({}, "http://data.example/a", None),
        ({"http_proxy": "http://proxy.example:3128"}, "http://data.example/a", "http://proxy.example:3128"),
        ({"http_proxy": "http://proxy.example:3128"}, "https://data.example/a", None),
        ({"https_proxy": "proxy.example:3128"}, "https://data.example/a", "http://proxy.example:3128"),
        ({"all_proxy": "http://proxy.example:1"}, "https://data.example/a", "http://proxy.example:1"),
        ({"http_proxy": "http://p:1", "no_proxy": "data.example"}, "http://data.example/a", None),
        ({"http_proxy": "http://p:1", "no_proxy": "*"}, "http://data.example/a", None),
        *(
            ({"http_proxy": "http://p:1"}, f"http://{host}/a", None)
            for host in ("127.0.0.1:8265", "localhost", "[::1]:80")
        ),
    ],
)
def test_sources_go_through_proxies_and_loopback_goes_direct(
    bare: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], url: str, proxy: str | None
):
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    bypass_proxies_on_loopback(os.environ)
    assert proxy_of(url) == proxy
    assert type(connections(proxy)).__name__ == ("ProxyManager" if proxy else "PoolManager")


def test_credentials_of_a_proxy_are_sent_and_never_shown():
    pool = connections("http://ann:s3%40cret@proxy.example:3128")
    assert pool.proxy_headers["proxy-authorization"] == "Basic " + "YW5uOnMzQGNyZXQ="
    assert proxies({"http_proxy": "http://ann:s3cret@proxy.example:3128"}) == {
        "http_proxy": "http://proxy.example:3128"
    }
