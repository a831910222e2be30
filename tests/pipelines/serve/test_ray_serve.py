"""`arctic serve` as a process: Ray Serve, its proxy, a token, a pending answer while the server stops."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from tests.kit.servers.ray_head import Head
from tests.pipelines.serve.conftest import NAME, free_port

ROOT = Path(__file__).parents[3]
TOKEN_VARIABLE = "ARCTIC_SERVE_TOKEN"
HEADERS = {"Authorization": "Bearer secret"}
pytestmark = pytest.mark.slow


def serve(checkpoint: Path, port: int, *options: str, **variables: str) -> Any:
    """The command in a process group of its own."""
    environment = {name: value for name, value in os.environ.items() if name not in ("RAY_ADDRESS", TOKEN_VARIABLE)}
    return subprocess.Popen(
        [sys.executable, "-m", "pipelines.cli", "serve", str(checkpoint), "--port", str(port), *options],
        env={**environment, "PYTHONPATH": str(ROOT), **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.fixture
def process(checkpoint: Path) -> Iterator[tuple[Any, str]]:
    """The command, ready, and its address."""
    pytest.importorskip("ray.serve")
    port = free_port()
    options = ("--name", NAME, "--max-batch", "2", "--max-queue", "2", "--stream-window", "60", "--threads", "2")
    running = serve(checkpoint, port, *options, **{TOKEN_VARIABLE: "secret"})
    line = running.stdout.readline()
    assert f"http://127.0.0.1:{port}/v1" in line
    yield running, f"http://127.0.0.1:{port}"
    if running.poll() is None:
        os.killpg(running.pid, signal.SIGKILL)
    running.wait()


def metrics(base: str, start: str) -> list[str]:
    """The lines of /metrics that begin so."""
    text = requests.get(f"{base}/metrics", headers=HEADERS, timeout=60).text
    return [line for line in text.splitlines() if line.startswith(start)]


def running_requests(base: str) -> int:
    (line,) = metrics(base, "arctic_unfinished_requests{")
    return int(float(line.rsplit(" ", 1)[1]))


def threads(base: str) -> dict[str, float]:
    """CPU threads of a replica by library."""
    lines = metrics(base, "arctic_threads{")
    return {re.search('library="([^"]*)"', line)[1]: float(line.rsplit(" ", 1)[1]) for line in lines}  # type: ignore[index]


@pytest.mark.parametrize("stop", [os.kill, os.killpg], ids=["the command", "all its processes"])
def test_it_answers_frees_what_a_client_leaves_and_drains(
    process: tuple[Any, str], stop: Callable[[int, int], None]
) -> None:
    openai = pytest.importorskip("openai")
    running, base = process
    assert requests.get(f"{base}/v1/models", timeout=60).status_code == 401
    assert threads(base) == {"torch": 2, "numba": 2}
    body = {"model": NAME, "prompt": "Row", "max_tokens": 900, "temperature": 0}
    with openai.OpenAI(base_url=f"{base}/v1", api_key="secret", max_retries=0) as client:
        # So long that it has not ended, however busy the machine is.
        stream = client.completions.create(**body | {"max_tokens": 10**6}, stream=True)
        next(iter(stream))
        assert running_requests(base) == 1
        stream.close()
        deadline = time.monotonic() + 60
        while running_requests(base):
            assert time.monotonic() < deadline
        whole = client.completions.create(**body).choices[0].text
        events = iter(client.completions.create(**body, stream=True))
        pieces = [next(events).choices[0].text]
        stop(running.pid, signal.SIGTERM)
        pieces += [event.choices[0].text for event in events]
        assert "".join(pieces) == whole
    assert running.wait(timeout=120) == 0
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{base}/health", timeout=60)


@pytest.mark.parametrize(
    ("options", "needs"),
    [(["--threads", "4096"], "4096 CPUs"), (["--gpus", "64"], "64 GPUs and 1 CPU"), (["--replicas", "4096"], "4096 x")],
)
def test_replicas_that_this_machine_cannot_hold_are_refused(checkpoint: Path, options: list[str], needs: str) -> None:
    pytest.importorskip("ray.serve")
    refused = serve(checkpoint, free_port(), *options)
    _, errors = refused.communicate(timeout=120)
    assert refused.returncode == 2, errors
    assert re.search(rf"error: arctic serve needs {needs}.*the cluster can have .*Lower --threads, --gpus", errors)


def test_a_cluster_that_may_grow_is_waited_for_and_the_wait_can_be_stopped(checkpoint: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray.serve")
    head = Head(tmp_path)
    try:
        head.wait()
        access = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(head.token_file)}
        waiting = serve(checkpoint, free_port(), "--threads", "64", "--address", f"127.0.0.1:{head.port}", **access)
        assert re.match(r"waiting for 64 CPUs, \d", waiting.stdout.readline())
        waiting.send_signal(signal.SIGINT)
        _, errors = waiting.communicate(timeout=60)
        assert waiting.returncode == 0, errors
    finally:
        head.stop()


def test_the_config_file_builds_an_application_and_asks_for_a_token(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray.serve")
    from ray.serve.schema import ServeDeploySchema

    from pipelines.errors import OptionError
    from pipelines.serve.deployment import application

    config = ServeDeploySchema(**yaml.safe_load((ROOT / "infra" / "serve" / "serve.yaml").read_text()))
    (described,) = config.applications
    assert described.import_path == "pipelines.serve.deployment:application"
    (deployment,) = described.deployments
    monkeypatch.delenv("ARCTIC_SERVE_TOKEN", raising=False)
    with pytest.raises(OptionError, match="ARCTIC_SERVE_TOKEN"):
        application(described.args)
    monkeypatch.setenv("ARCTIC_SERVE_TOKEN", "secret")
    assert application(described.args)._bound_deployment.name == deployment.name
    with pytest.raises(OptionError, match=r"args\.max_bach"):
        application({**described.args, "max_bach": 3})


def test_the_ray_service_of_kubernetes_holds_a_config_that_ray_serve_takes() -> None:
    pytest.importorskip("ray.serve")
    from ray.serve.schema import ServeDeploySchema

    manifest = yaml.safe_load((ROOT / "infra" / "serve" / "rayservice.yaml").read_text())
    assert (manifest["apiVersion"], manifest["kind"]) == ("ray.io/v1", "RayService")
    config = ServeDeploySchema(**yaml.safe_load(manifest["spec"]["serveConfigV2"]))
    alone = ServeDeploySchema(**yaml.safe_load((ROOT / "infra" / "serve" / "serve.yaml").read_text()))
    assert config.applications[0].import_path == alone.applications[0].import_path
    cluster = manifest["spec"]["rayClusterConfig"]
    containers = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    variables = [
        {variable["name"] for variable in group["template"]["spec"]["containers"][0]["env"]} for group in containers
    ]
    assert all("ARCTIC_SERVE_TOKEN" in names for names in variables)
