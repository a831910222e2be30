"""Tokens are created once and privately; an unusable cluster is reported with the reason; a local one is for this
machine alone and dies with its driver."""

import ipaddress
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from infra.cluster.connection import ClusterError, connect, is_loopback, refused_token, token_file, use_token
from tests.kit.files import watched_disk

ROOT = Path(__file__).parents[3]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home; changes of the environment are undone, and a Ray loaded by other tests is left alone."""
    switches = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER")
    for name in (*switches, "RAY_ADDRESS", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("RAY_NUM_REDIS_GET_RETRIES", "3")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delitem(sys.modules, "ray", raising=False)
    return tmp_path


def test_a_token_is_made_once_readable_by_its_owner_only(home: Path):
    use_token(may_create=True)
    path = home / ".local" / "state" / "arctic" / "ray_token"
    assert os.environ["RAY_AUTH_MODE"] == "token"
    assert os.environ["RAY_AUTH_TOKEN_PATH"] == str(path)
    assert path.stat().st_mode & 0o777 == 0o600
    token = path.read_text()
    assert len(bytes.fromhex(token)) == 32
    use_token(may_create=True)
    assert path.read_text() == token


def test_a_token_is_whole_after_a_power_cut_and_an_empty_one_is_made_again(home: Path):
    with watched_disk() as disk:
        use_token(may_create=True)
    assert disk.cut(home) == []
    token_file().write_text("")
    with pytest.raises(ClusterError, match="no token for this cluster"):
        use_token(may_create=False)
    use_token(may_create=True)
    assert len(bytes.fromhex(token_file().read_text())) == 32


def test_processes_that_start_together_share_one_token(home: Path):
    def token_after_use(_: int) -> str:
        use_token(may_create=True)
        return token_file().read_text()

    with ThreadPoolExecutor(8) as pool:
        tokens = set(pool.map(token_after_use, range(32)))
    assert len(tokens) == 1
    assert [path.name for path in token_file().parent.iterdir()] == ["ray_token"]


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("ours", [False, True])
@pytest.mark.parametrize("rays", [False, True])
def test_a_refusal_names_the_token_that_was_used(
    home: Path, monkeypatch: pytest.MonkeyPatch, rays: bool, ours: bool, named: bool
):
    files = {name: home / name for name in (".ray/auth_token", ".local/state/arctic/ray_token", "named")}
    for present, file in zip((rays, ours, named), files.values(), strict=True):
        if present:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("a" * 64)
    if named:
        monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(files["named"]))
    use_token(may_create=True)
    used = (
        files["named"] if named else files[".ray/auth_token" if rays and not ours else ".local/state/arctic/ray_token"]
    )
    reported = refused_token("http://head:8265")
    assert reported.startswith(f"http://head:8265: the cluster refuses the token of {used}")
    assert ("Ray's own" in reported) == (rays and used != files[".ray/auth_token"])
    monkeypatch.setenv("RAY_AUTH_TOKEN", "b" * 64)
    assert "the variable RAY_AUTH_TOKEN." in refused_token("http://head:8265")


def test_a_token_that_exists_is_used(home: Path, monkeypatch: pytest.MonkeyPatch):
    rays_own = home / ".ray" / "auth_token"
    rays_own.parent.mkdir()
    rays_own.write_text("a" * 64)
    assert token_file() == rays_own
    # Ray makes its own unasked: one that was there before goes on being used.
    ours = home / ".local" / "state" / "arctic" / "ray_token"
    ours.parent.mkdir(parents=True)
    ours.write_text("c" * 64)
    assert token_file() == ours
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(home / "named"))
    assert token_file() == home / "named"
    monkeypatch.setenv("RAY_AUTH_TOKEN", "b" * 64)
    use_token(may_create=False)
    assert not (home / "named").exists()


def test_no_token_for_a_cluster_of_others_is_an_error_that_names_the_file(home: Path):
    with pytest.raises(ClusterError, match=r"arctic/ray_token: no token for this cluster\. Copy the head's token"):
        connect("127.0.0.1:6379").__enter__()


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_an_address_where_nothing_listens_is_named_at_once(home: Path, monkeypatch: pytest.MonkeyPatch, scheme: str):
    monkeypatch.setenv("RAY_AUTH_TOKEN", "b" * 64)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"{scheme}127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setenv("RAY_ADDRESS", address)
        with pytest.raises(ClusterError, match=f"{address}: nothing answers there"):
            connect().__enter__()


def test_loopback():
    assert all(map(is_loopback, ["localhost", "127.0.0.1", "127.1.2.3", "::1"]))
    assert not any(map(is_loopback, ["0.0.0.0", "10.0.0.1", "head.example", "127.evil.example"]))


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[subprocess.Popen]:
    """A process with its own cluster, which prints its metadata and the id of a worker."""
    code = (
        "import os, time; from infra.cluster.connection import connect\n"
        "with connect(num_cpus=1) as cluster:\n"
        "    import ray\n"
        "    worker = ray.get(ray.remote(lambda: os.getpid()).remote())\n"
        "    print(cluster.is_local, cluster.num_cpus, worker, flush=True)\n"
        "    time.sleep(600)"
    )
    env = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    env |= {"PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}
    process = subprocess.Popen([sys.executable, "-c", code], env=env, stdout=subprocess.PIPE, text=True)
    yield process
    process.kill()
    process.wait()


@pytest.mark.slow
def test_a_cluster_that_was_started_here_listens_on_loopback_only(driver: subprocess.Popen):
    assert driver.stdout is not None and driver.stdout.readline().startswith("True")
    listening = {location for pid, _ in [(driver.pid, ""), *_descendants(driver.pid)] for location in _listening(pid)}
    assert listening and all(map(is_loopback, listening))


@pytest.mark.slow
def test_killing_the_driver_leaves_no_process_that_holds_the_cluster(driver: subprocess.Popen):
    assert driver.stdout is not None
    reported = driver.stdout.readline().split()
    assert reported[:2] == ["True", "1.0"]
    holders = [pid for pid, name in _descendants(driver.pid) if name in ("raylet", "gcs_server")] + [int(reported[2])]
    assert len(holders) == 3
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{pid}").exists() for pid in holders):
        assert time.monotonic() < deadline, "still there after 30 s"
        time.sleep(0.05)


def _descendants(pid: int) -> list[tuple[int, str]]:
    children = Path(f"/proc/{pid}/task").glob("*/children")
    pids = [int(child) for file in children for child in file.read_text().split()]
    named = [(child, Path(f"/proc/{child}/comm").read_text().strip()) for child in pids]
    return named + [result for child in pids for result in _descendants(child)]


def _listening(pid: int) -> list[str]:
    """Addresses of the TCP ports that a process listens on, one each."""
    links = (link.readlink() for link in Path(f"/proc/{pid}/fd").iterdir())
    sockets = {str(link)[len("socket:[") : -1] for link in links if str(link).startswith("socket:")}
    rows = (row.split() for table in ("tcp", "tcp6") for row in Path(f"/proc/net/{table}").read_text().splitlines())
    return [_address(row[1].split(":")[0]) for row in rows if row[3] == "0A" and row[9] in sockets]


def _address(words: str) -> str:
    """The kernel writes each word of four bytes as a number of this machine's byte order."""
    numbers = [int(words[at : at + 8], 16).to_bytes(4, sys.byteorder) for at in range(0, len(words), 8)]
    result = ipaddress.ip_address(b"".join(numbers))
    return str(getattr(result, "ipv4_mapped", None) or result)


def test_workers_have_one_thread_each_and_the_driver_keeps_its_environment(tmp_path: Path):
    """Numba refuses to compile in a process whose threads have started and whose variable then changes."""
    names = ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "RAY_USAGE_STATS_ENABLED")
    code = (
        "import os; from infra.cluster.connection import connect\n"
        f"here = lambda: [os.environ.get(name) for name in {names}]\n"
        "with connect(num_cpus=1):\n"
        "    import ray\n"
        "    print(ray.get(ray.remote(here).remote()), here())"
    )
    assert _printed(code, tmp_path, without=names) == "['1', '1', '0'] [None, None, None]"


def test_processes_of_a_local_cluster_wait_for_the_next_stage(tmp_path: Path):
    """Ray keeps as many as there are CPUs, and ends all others a second after their tasks."""
    code = (
        "import os, pathlib, time; from infra.cluster.connection import connect\n"
        "def meet(stage):\n"
        "    folder = pathlib.Path(os.environ['HOME'], stage)\n"
        "    (folder / str(os.getpid())).touch()\n"
        "    while len(os.listdir(folder)) < 3: time.sleep(.01)\n"
        "    return os.getpid()\n"
        "def processes(stage):\n"
        "    pathlib.Path(os.environ['HOME'], stage).mkdir()\n"
        "    return set(ray.get([ray.remote(meet).options(num_cpus=0).remote(stage) for _ in range(3)]))\n"
        "with connect(num_cpus=1):\n"
        "    import ray\n"
        "    first = processes('first')\n"
        "    time.sleep(3)\n"
        "    print(processes('second') == first)"
    )
    assert _printed(code, tmp_path) == "True"


def _printed(code: str, home: Path, without: Sequence[str] = ()) -> str:
    """What a process of its own prints, without this one's settings of Ray."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("RAY_") and name not in without}
    env |= {"PYTHONPATH": str(ROOT), "HOME": str(home)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
