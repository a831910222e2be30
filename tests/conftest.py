"""Fixtures and settings of every test."""

import gc
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import settings

from arctic_model.peak_memory import peak_resident_bytes

# pytest runs one process per core: more threads in each would only wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# The background of a script ignores Ctrl-C, and so would every process that a test starts and interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# A busy machine is no reason to fail, and a failure is to be the same on the next run.
settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")

ROOT = Path(__file__).parents[1]
NODE_RESOURCES = {"cpu_pool": {"CPU": 2}, "gpu_pool": {"CPU": 2, "GPU": 4}}
"""Of the machines that are simulated, instead of the cloud's: raylets prepare for every CPU."""


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Without the garbage collector, which would look again and again at thousands of tests that all stay."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture(autouse=True)
def same_environment() -> Iterator[None]:
    """For each test: a run in this process leaves the variables of its Ray behind, with which no other cluster
    starts."""
    before = dict(os.environ)
    yield
    if os.environ != before:
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture
def peak_growth() -> Callable[[], int]:
    """`peak_growth()`: bytes by which the peak of this process exceeds what it held when the test began."""
    if sys.platform != "linux":
        pytest.skip("only Linux forgets the peak of a process")
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    before = peak_resident_bytes()
    return lambda: peak_resident_bytes() - before


class PoolsCluster:
    """A cluster of this machine with the pools of `ray_cluster.yaml`, and Ray's own autoscaler and simulated machines.

    As `ray.cluster_utils.AutoscalingCluster`, except for two limitations of it: Ray's wheel lacks the base of its
    configuration, and its start and end stop every Ray of the machine.
    """

    def __init__(self, folder: Path, pools: dict[str, Any], **settings: Any) -> None:
        with socket.socket() as free:
            free.bind(("", 0))
            self.port = free.getsockname()[1]
        from ray._private.services import get_node_ip_address

        self.address = f"{get_node_ip_address()}:{self.port}"
        self.token_file = folder / "token"
        self.token_file.touch(0o600)
        self.token_file.write_text(secrets.token_hex(32))
        self._temporary = Path("/tmp") / f"ray-{secrets.token_hex(3)}"
        config = folder / "autoscaling.json"
        config.write_text(json.dumps(self._config(pools) | settings))
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--num-cpus=0"]
        command += [f"--port={self.port}", f"--temp-dir={self._temporary}", f"--autoscaling-config={config}"]
        command += ["--include-dashboard=false", "--disable-usage-stats", f"--object-store-memory={80 * 2**20}"]
        self._log = folder / "head.log"
        self._process = subprocess.Popen(
            command,
            env={**os.environ, **self.environment, "RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1"},
            stdout=self._log.open("w"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables that authenticate a driver."""
        return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(self.token_file)}

    def wait(self) -> None:
        deadline = time.monotonic() + 120
        while "Ray runtime started" not in self._log.read_text():
            assert self._process.poll() is None and time.monotonic() < deadline, self._log.read_text()
            time.sleep(0.2)

    def stop(self) -> None:
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(30)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        shutil.rmtree(self._temporary, ignore_errors=True)

    def _config(self, pools: dict[str, Any]) -> dict[str, Any]:
        from ray.autoscaler._private.util import prepare_config, validate_config

        lists = ("cluster_synced_files", "initialization_commands", "setup_commands", "head_setup_commands")
        more = ("worker_setup_commands", "head_start_ray_commands", "worker_start_ray_commands", "rsync_exclude")
        provider = {
            "type": "external",
            "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
            "gcs_address": self.address,
            "disable_node_updaters": True,
            "use_node_id_as_ip": True,
        }
        head = {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0}
        config = {name: [] for name in (*lists, *more, "rsync_filter")}
        config |= {"auth": {}, "file_mounts": {}, "file_mounts_sync_continuously": False, "provider": provider}
        declared = yaml.safe_load((ROOT / "ray_cluster.yaml").read_text())
        config |= {name: declared[name] for name in ("cluster_name", "max_workers", "upscaling_speed")}
        # The provider simulates a head of this type.
        config |= {"head_node_type": "ray.head.default", "available_node_types": {"ray.head.default": head, **pools}}
        prepared = prepare_config(config)
        validate_config(prepared)
        return prepared


def shipped_pools() -> dict[str, Any]:
    """The pools of `ray_cluster.yaml`, their machines made small."""
    types = yaml.safe_load((ROOT / "ray_cluster.yaml").read_text())["available_node_types"]
    limits = {name: {key: types[name][key] for key in ("min_workers", "max_workers")} for name in NODE_RESOURCES}
    memory = {"object_store_memory": 80 * 2**20}
    return {name: limits[name] | {"node_config": {}, "resources": NODE_RESOURCES[name] | memory} for name in limits}


@pytest.fixture
def pools_cluster(tmp_path: Path) -> Iterator[Callable[..., PoolsCluster]]:
    """`pools_cluster(**settings)`: the shipped pools at zero, with the autoscaler's `settings`."""
    started: list[PoolsCluster] = []

    def start(**settings: Any) -> PoolsCluster:
        folder = tmp_path / f"cluster-{len(started)}"
        folder.mkdir()
        started.append(PoolsCluster(folder, shipped_pools(), **settings))
        started[-1].wait()
        return started[-1]

    yield start
    for cluster in started:
        cluster.stop()


@pytest.fixture
def untracked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of this process without MLflow, which takes seconds each time."""

    class Untracked:
        def __init__(self, *_: object) -> None: ...
        def stop(self) -> None: ...

    monkeypatch.setattr("infra.tracking.Tracker", Untracked)
