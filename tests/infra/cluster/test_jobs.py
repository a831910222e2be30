"""Jobs on a real Ray head on this machine: log, exit codes, tokens, interruption; and the files that travel with a
job."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.cluster import jobs
from infra.cluster.connection import ClusterError
from infra.cluster.dashboard import Dashboard, dashboard_url
from infra.cluster.jobs import NewJob, runtime_env
from tests.kit.servers.ray_head import Head

ROOT = Path(__file__).parents[3]
TOKEN_VARIABLES = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_ADDRESS")


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    started = Head(tmp_path_factory.mktemp("head"))
    try:
        started.wait()
        yield started
    finally:
        started.stop()


@pytest.fixture
def working_dir(tmp_path: Path) -> Path:
    (tmp_path / "job.py").write_text(
        "import os, sys, time\n"
        "print('files', sorted(os.listdir()), flush=True)\n"
        "time.sleep(float(sys.argv[2]) if len(sys.argv) > 2 else 0)\n"
        "print('told', *sys.argv[1:], flush=True)\n"
        "sys.exit(int(sys.argv[1]))\n"
    )
    (tmp_path / ".gitignore").write_text("ignored.txt\n")
    for name in ("ignored.txt", "key.pem", ".env"):
        (tmp_path / name).write_text("secret")
    (tmp_path / "results" / "stages").mkdir(parents=True)
    return tmp_path


def _start_submit(address: str, arguments: list[str], folder: Path, token: Path | None) -> "subprocess.Popen[str]":
    """`submit` in a separate process: Ray reads the token once per process."""
    code = (
        "import sys; from pathlib import Path\n"
        "from infra.cluster.connection import ClusterError; from infra.cluster.jobs import NewJob, submit\n"
        "import secrets\n"
        "name = f'demo-{secrets.token_hex(4)}'\n"
        "job = NewJob(name, sys.argv[3:], Path(sys.argv[2]), metadata={'recipe': 'demo.toml'})\n"
        "try: sys.exit(submit(sys.argv[1], job))\n"
        "except ClusterError as error: sys.exit(f'ClusterError: {error}')"
    )
    env = {name: value for name, value in os.environ.items() if name not in TOKEN_VARIABLES}
    env |= {"HOME": str(folder), "PYTHONPATH": str(ROOT), "RAY_ADDRESS": "http://127.0.0.1:9"}
    env |= {"RAY_AUTH_TOKEN_PATH": str(token)} if token else {}
    return subprocess.Popen(
        [sys.executable, "-c", code, address, str(folder), *arguments],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _submit(address: str, arguments: list[str], folder: Path, token: Path | None) -> tuple[int, str]:
    process = _start_submit(address, arguments, folder, token)
    output, _ = process.communicate(timeout=180)
    return process.returncode, output


@pytest.mark.slow
@pytest.mark.parametrize("code", [0, 3])
def test_log_is_followed_and_the_exit_code_is_the_jobs(head: Head, working_dir: Path, code: int):
    returned, output = _submit(head.url, ["job.py", str(code)], working_dir, head.token_file)
    assert f"told {code}" in output, output
    assert returned == code, output
    # The variable RAY_ADDRESS points elsewhere; the address that was given counts.
    assert head.url in output


@pytest.mark.slow
def test_a_proxy_that_is_set_for_all_programs_is_not_asked_on_loopback(
    head: Head, working_dir: Path, monkeypatch: pytest.MonkeyPatch
):
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    code, output = _submit(head.url, ["job.py", "0"], working_dir, head.token_file)
    assert (code, "told 0" in output) == (0, True), output


@pytest.mark.slow
def test_secrets_and_results_stay_at_home(head: Head, working_dir: Path):
    _, output = _submit(head.url, ["job.py", "0"], working_dir, head.token_file)
    assert "'job.py'" in output
    for name in ("ignored.txt", "key.pem", ".env", "results"):
        assert f"'{name}'" not in output


@pytest.mark.slow
def test_a_wrong_token_is_refused(head: Head, working_dir: Path, tmp_path: Path):
    wrong = tmp_path / "wrong"
    wrong.write_text("0" * 64)
    returned, output = _submit(head.url, ["job.py", "0"], working_dir, wrong)
    assert returned == 1
    assert "ClusterError" in output and f"refuses the token of {wrong}." in output


@pytest.mark.slow
def test_interrupting_stops_the_job(head: Head, working_dir: Path):
    process = _start_submit(head.url, ["job.py", "0", "600"], working_dir, head.token_file)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("files"):
            break
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert "stopping job" in output
    assert process.returncode == 130


@pytest.mark.slow
@pytest.mark.parametrize("right", [True, False])
def test_a_driver_connects_by_address_with_the_heads_token_only(head: Head, tmp_path: Path, right: bool):
    wrong = tmp_path / "wrong"
    wrong.write_text("0" * 64)
    code = (
        "import sys; from infra.cluster.connection import ClusterError, connect\n"
        "try:\n"
        "    with connect(sys.argv[1]) as cluster:\n"
        "        import ray\n"
        "        print(cluster.is_local, cluster.num_cpus, ray.get(ray.remote(lambda: 6 * 7).remote()))\n"
        "except ClusterError as error: print('ClusterError', error)"
    )
    env = {name: value for name, value in os.environ.items() if name not in TOKEN_VARIABLES}
    env |= {"PYTHONPATH": str(ROOT), "RAY_AUTH_TOKEN_PATH": str(head.token_file if right else wrong)}
    done = subprocess.run(
        [sys.executable, "-c", code, f"127.0.0.1:{head.port}"], env=env, capture_output=True, text=True, timeout=120
    )
    if right:
        assert done.stdout.strip() == "False 2.0 42", done.stdout + done.stderr
        assert head.process.poll() is None
    else:
        assert "refuses the token" in done.stdout, done.stdout + done.stderr


def test_the_scheme_of_a_dashboard_may_be_left_out_but_must_be_http():
    assert dashboard_url("127.0.0.1:8265") == "http://127.0.0.1:8265"
    assert dashboard_url("https://head.example/") == "https://head.example"
    with pytest.raises(ClusterError, match=r"ray://head:10001: not the address of a dashboard"):
        dashboard_url("ray://head:10001")


def test_what_travels_holds_no_secret(working_dir: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN", "s3cret")
    env = runtime_env(working_dir)
    assert "s3cret" not in str(env)
    assert set(env.get("env_vars", {})) <= {"ARCTIC_GIT"}
    assert "/results/" in env["excludes"]


@pytest.mark.parametrize(
    ("reason", "remedy"),
    [
        ("500: No available agent to submit job", "--dashboard-agent-listen-port"),
        ("413: Maximum request body size 104857600 exceeded", r"less than 100 MiB.*\.gitignore"),
    ],
)
def test_a_job_that_the_head_does_not_take_is_explained(
    working_dir: Path, reason: str, remedy: str, monkeypatch: pytest.MonkeyPatch
):
    class Client:
        def submit_job(self, **_: object) -> str:
            raise RuntimeError(f"Request failed with status code {reason}")

    monkeypatch.setattr(Dashboard, "at", lambda url: Dashboard(url, Client()))  # type: ignore[arg-type]
    with pytest.raises(ClusterError, match=remedy):
        jobs.submit("127.0.0.1:8265", NewJob("demo-1", ["job.py"], working_dir))


def test_a_folder_that_is_too_large_is_refused_before_anything_is_asked_of_the_head(
    working_dir: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("RAY_AUTH_TOKEN", "b" * 64)
    (working_dir / "recordings").mkdir()
    with (working_dir / "recordings" / "one.wav").open("wb") as file:
        file.truncate(120 * 10**6)
    with pytest.raises(ClusterError, match=r"114\.4 MiB; largest folders: recordings/ 114\.4 MiB.*less than 100 MiB"):
        jobs.submit("http://192.0.2.1:8265", NewJob("demo-1", ["job.py"], working_dir))


def test_the_patience_of_this_shell_goes_along(working_dir: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ARCTIC_PATIENCE_MINUTES", "90")
    assert runtime_env(working_dir)["env_vars"]["ARCTIC_PATIENCE_MINUTES"] == "90"


def test_without_a_token_nothing_is_sent(tmp_path: Path, working_dir: Path):
    returned, output = _submit("http://192.0.2.1:8265", ["job.py", "0"], working_dir, None)
    assert returned == 1
    assert "no token for this cluster" in output
