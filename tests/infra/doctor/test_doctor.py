"""Each check of given inputs; open sockets are read from the kernel's real tables."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infra.doctor.checks import Check, assess
from infra.doctor.environment import Environment, FileSystem, Upload, file_system, inspect_environment
from infra.doctor.machine import ListeningSocket, MachineInfo, gather, listening_sockets
from infra.tracking.experiments import Experiments

FIT = MachineInfo(
    python=(3, 11),
    versions={"ray": "2.60.0", "numpy": "2.1.0"},
    requirements=("ray[data]>=2.60,<3", "numpy>=2", 'pytest>=8; extra == "dev"'),
    broken_modules={},
    store_error=None,
    free_disk_bytes=100 * 2**30,
    available_memory_bytes=16 * 2**30,
    free_shared_memory_bytes=2**30,
    token_path="/home/ann/.local/state/arctic/ray_token",
    token_mode=0o600,
    auth_mode=None,
    cluster_error=None,
    sockets=(),
    landlock_abi=4,
    has_seccomp=True,
)


def failing(**changes: Any) -> list[Check]:
    return [check for check in assess(replace(FIT, **changes)) if not check.ok]


def test_a_fit_machine_passes_and_every_check_is_named_once():
    result = assess(FIT)
    assert all(check.ok for check in result)
    assert len({check.name for check in result}) == len(result)


@pytest.mark.parametrize(
    ("changes", "name", "words"),
    [
        ({"python": (3, 10)}, "python", "3.10"),
        ({"versions": {"ray": "2.52.1", "numpy": "2.1.0"}}, "packages", "ray 2.52.1 (needs <3,>=2.60)"),
        ({"versions": {"ray": "2.60.0", "numpy": None}}, "packages", "numpy missing"),
        ({"broken_modules": {"gloo": "no interface"}}, "imports", "gloo: no interface"),
        ({"free_disk_bytes": 2**30}, "disk", "1.00 GiB free, 5.00 GiB wanted"),
        ({"available_memory_bytes": 2**30}, "memory", "1.00 GiB free"),
        ({"free_shared_memory_bytes": 64 * 2**20}, "shared memory", "0.06 GiB free"),
        ({"store_error": "store /x: cannot write there"}, "store", "cannot write"),
        ({"token_mode": 0o644}, "token file", "mode 0644"),
        ({"auth_mode": "disabled"}, "token authentication", "disabled"),
        ({"cluster_error": "head:6379: nothing answers there"}, "cluster", "nothing answers"),
    ],
)
def test_what_is_wrong_is_named_with_its_value(changes: dict[str, Any], name: str, words: str):
    [check] = failing(**changes)
    assert check.name == name
    assert words in check.message
    assert check.remedy or name in ("store", "cluster"), "these messages carry their remedy"


@pytest.mark.parametrize(
    ("environment", "name", "is_ok", "words"),
    [
        (Environment(), "account", True, "has a name"),
        (Environment(uid=4711, has_name=False), "account", True, "user id 4711 has no name; uid-4711 is used"),
        (Environment(home_error="HOME is /x, which is no folder"), "account", True, "/x, which is no folder. Runs"),
        (Environment(ray_choice="/scratch"), "ray folder", True, "/scratch is writable"),
        (Environment(ray_folder_error="/deep is longer"), "ray folder", True, "set RAY_TMPDIR to a short"),
        (Environment(proxies={"http_proxy": "http://p:1"}), "proxies", True, "http_proxy http://p:1: sources"),
        (Environment(file_system=FileSystem()), "store links", True, "hard links work"),
        (Environment(file_system=FileSystem(has_links=False)), "store links", True, "files are copied"),
        (Environment(file_system=FileSystem(has_locks=False)), "store locks", False, "cannot lock"),
        (Environment(file_system=FileSystem(other_owner="ann")), "store owner", True, "belongs to ann"),
        (Environment(refusal="/tmp/arctic-1: cannot be made. Set HOME"), "account", False, "cannot be made. Set HOME"),
        (Environment(ray_refusal="none can be written. Set RAY_TMPDIR"), "ray folder", False, "Set RAY_TMPDIR"),
        (Environment(experiments=Experiments(("web", "wiki"))), "experiments", True, "web, wiki. The next run"),
        (
            Environment(experiments=Experiments(("a",), "http://m:1")),
            "experiments",
            True,
            "MLflow at http://m:1: a.",
        ),
        (Environment(experiments=Experiments(damage="mlflow.db: malformed")), "experiments", False, "malformed"),
        (
            Environment(experiments=Experiments(silence="refused")),
            "experiments",
            True,
            "answer: refused. A run",
        ),
        (Environment(upload=Upload("/w: 3 files; largest")), "submit", True, "/w: 3 files"),
        (Environment(upload=Upload("/w: 300 MiB", False)), "submit", True, "would refuse /w: 300 MiB"),
        (Environment(upload=Upload("/w: not measured", None)), "submit", True, "change to the folder"),
    ],
)
def test_the_environment_is_judged_with_its_mend(environment: Environment, name: str, is_ok: bool, words: str):
    (check,) = [one for one in assess(replace(FIT, environment=environment)) if one.name == name]
    assert check.ok == is_ok
    assert words in check.message
    assert check.ok or check.remedy or name in ("account", "ray folder"), "these messages carry their remedy"


def test_links_and_locks_are_tried_in_the_store_and_leave_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    assert file_system(tmp_path) == FileSystem()
    assert file_system(tmp_path / "missing") is None
    monkeypatch.setattr(Path, "hardlink_to", refuse)
    assert file_system(tmp_path) == FileSystem(has_links=False)
    monkeypatch.setattr("fcntl.flock", refuse)
    assert file_system(tmp_path) == FileSystem(has_links=False, has_locks=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("variable", ["LOGNAME", "USER", "LNAME", "USERNAME"])
def test_a_name_in_the_environment_is_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str):
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", lambda uid: {}[uid])
    monkeypatch.setenv("USER", "")
    assert not inspect_environment(tmp_path, Upload()).has_name
    monkeypatch.setenv("USER", "")
    monkeypatch.setenv(variable, "ann")
    assert inspect_environment(tmp_path, Upload()).has_name


def test_an_account_and_a_ray_folder_without_any_place_to_write_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(os, "access", lambda *_: False)
    monkeypatch.setenv("HOME", "/nowhere/at/all")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    result = inspect_environment(tmp_path, Upload())
    assert "missing" in str(result.refusal) and "Set HOME and TMPDIR" in str(result.refusal)
    assert "none of /tmp, /var/tmp, /dev/shm can be written. Set RAY_TMPDIR" in str(result.ray_refusal)


def test_packages_of_an_extra_are_told_with_their_mend_and_make_no_machine_unfit():
    lacking = {"evaluate": ["lm_eval missing (needs ==0.4.13)", "langdetect 1.0.8 (needs >=1.0.9)"]}
    (check,) = [one for one in assess(replace(FIT, extras=lacking)) if one.name == "optional packages"]
    assert check.ok
    assert "evaluate: lm_eval missing (needs ==0.4.13); langdetect 1.0.8 (needs >=1.0.9)" in check.message
    assert "Run: pip install -e '.[evaluate]' -c constraints.txt" in check.message


def test_only_sockets_that_others_reach_without_a_token_are_refused():
    harmless = (
        ListeningSocket("gcs_server", "0.0.0.0", 6379, has_token=True),
        ListeningSocket("mlflow", "127.0.0.1", 5000, has_token=False),
        ListeningSocket("raylet", "::1", 7000, has_token=False),
    )
    assert failing(sockets=harmless) == []
    [check] = failing(sockets=(*harmless, ListeningSocket("mlflow", "0.0.0.0", 5001, has_token=False)))
    assert (check.name, check.message) == ("open sockets", "mlflow on 0.0.0.0:5001")


@pytest.mark.parametrize("host", ["0.0.0.0", "127.0.0.1", "::", "::1"])
@pytest.mark.parametrize("mode", ["token", "disabled"])
def test_a_listening_process_is_found_with_its_address_port_and_mode(host: str, mode: str):
    """A real process that bears the name of Ray's daemon; the port comes from its own socket."""
    code = (
        f"import socket; s = socket.socket(socket.AF_INET{'6' if ':' in host else ''});"
        f"s.bind(({host!r}, 0)); s.listen(); print(s.getsockname()[1], flush=True); input()"
    )
    process = subprocess.Popen(
        ["raylet", "-c", code],
        executable=sys.executable,
        env={**os.environ, "RAY_AUTH_MODE": mode},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    try:
        port = int(process.stdout.readline())
        result = [one for one in listening_sockets(Path("/proc"), os.getuid()) if one.port == port]
        assert result == [ListeningSocket("raylet", host, port, has_token=mode == "token")]
        assert not [one for one in listening_sockets(Path("/proc"), os.getuid() + 1) if one.port == port]
    finally:
        process.communicate("\n", timeout=20)


@pytest.mark.slow
def test_this_machine_can_be_looked_at(tmp_path: Path):
    machine = gather(tmp_path / "not" / "there" / "yet", "127.0.0.1:9", Upload())
    assert machine.python == sys.version_info[:2]
    assert machine.versions["ray"]
    assert "pytest" not in machine.versions
    assert machine.broken_modules == {}
    assert machine.store_error is None
    assert "127.0.0.1:9: nothing answers there" in str(machine.cluster_error)
    assert machine.free_disk_bytes > 0
    assert machine.available_memory_bytes > 0
