"""Properties of this machine, read from /proc and the installed packages, for `infra.doctor.checks`."""

import ctypes
import ipaddress
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from infra.cluster.connection import ClusterError, require_reachable, token_file
from infra.doctor.environment import Environment, Upload, inspect_environment
from infra.host.packages import optional, problems
from infra.host.versions import version
from infra.store import Store, StoreError

PROBE_TIMEOUT_S = 180.0
LANDLOCK_CREATE_RULESET = 444
"""System call number, the same on every architecture (linux/include/uapi/asm-generic/unistd.h)."""
MODULES = (
    "ray",
    "torch",
    "deepspeed",
    "mlflow",
    "pyarrow",
    "datasketch",
    "tokenizers",
    "numba",
    "fastwarc",
    "trafilatura",
)
PROBE = f"""
import importlib, json, tempfile
failures = {{}}
for name in {MODULES!r}:
    try:
        importlib.import_module(name)
    except Exception as error:
        failures[name] = repr(error)
try:
    import torch, torch.distributed as dist
    with tempfile.TemporaryDirectory() as folder:
        dist.init_process_group("gloo", store=dist.FileStore(f"{{folder}}/meet", 1), rank=0, world_size=1)
        total = torch.ones(2)
        dist.all_reduce(total)
        assert total.tolist() == [1.0, 1.0]
        dist.destroy_process_group()
except Exception as error:
    failures["gloo"] = repr(error)
print("PROBE" + json.dumps(failures))
"""


@dataclass(frozen=True)
class ListeningSocket:
    """A TCP socket of Ray or MLflow that waits for connections. `has_token`: Ray's token authentication guards it."""

    program: str
    address: str
    port: int
    has_token: bool


@dataclass(frozen=True)
class MachineInfo:
    """Input of the checks; sizes in bytes, None if a thing is absent or its file unreadable."""

    python: tuple[int, int]
    versions: Mapping[str, str | None]
    requirements: tuple[str, ...]
    broken_modules: Mapping[str, str]
    store_error: str | None
    free_disk_bytes: int
    available_memory_bytes: int
    free_shared_memory_bytes: int
    token_path: str
    token_mode: int | None
    auth_mode: str | None
    cluster_error: str | None
    sockets: tuple[ListeningSocket, ...]
    landlock_abi: int | None
    has_seccomp: bool
    extras: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Faults in the packages of each extra that a run can need."""
    environment: Environment = field(default_factory=Environment)


def gather(store: Path | str, address: str | None, upload: Upload) -> MachineInfo:
    """Look at this machine. Imports the heavy packages in a separate process; takes some ten seconds."""
    requirements = tuple(metadata.requires("arctic-pretraining") or ())
    names = [name for name in map(_distribution, requirements) if name]
    store_error, store_root = _store_error(store), Store(store).root
    environment = inspect_environment(store_root, upload)
    token = token_file()
    return MachineInfo(
        python=sys.version_info[:2],
        versions={name: version(name) for name in names},
        requirements=requirements,
        broken_modules=_probe(),
        store_error=store_error,
        free_disk_bytes=shutil.disk_usage(_existing(store_root)).free,
        available_memory_bytes=_available_memory(),
        free_shared_memory_bytes=shutil.disk_usage("/dev/shm").free,
        token_path=str(token),
        token_mode=token.stat().st_mode & 0o777 if token.exists() else None,
        auth_mode=os.environ.get("RAY_AUTH_MODE"),
        cluster_error=_cluster_error(address or os.environ.get("RAY_ADDRESS")),
        sockets=tuple(listening_sockets(Path("/proc"), os.getuid())),
        landlock_abi=_landlock_abi(),
        has_seccomp=Path("/proc/sys/kernel/seccomp/actions_avail").exists(),
        extras=_extras(),
        environment=environment,
    )


def listening_sockets(proc: Path, uid: int) -> Iterator[ListeningSocket]:
    """Sockets on which Ray's daemons and MLflow's servers of user `uid` wait. Ray's workers are left out: they are
    guarded as the raylet that started them."""
    waiting = {inode: address for table in ("tcp", "tcp6") for inode, address in _waiting(proc / "net" / table, uid)}
    for process in sorted(proc.glob("[0-9]*"), key=lambda path: int(path.name)):
        # Processes of others cannot be read, and any process may end while it is looked at.
        with suppress(OSError):
            program = _program((process / "cmdline").read_text().split("\0"))
            if program is None:
                continue
            has_token = "RAY_AUTH_MODE=token" in (process / "environ").read_text(errors="replace").split("\0")
            for inode in _socket_inodes(process):
                if inode in waiting:
                    yield ListeningSocket(program, *waiting[inode], has_token and program != "mlflow")


def _waiting(table: Path, uid: int) -> Iterator[tuple[str, tuple[str, int]]]:
    """(inode, (address, port)) of the sockets in state LISTEN in one of the kernel's tables."""
    if not table.exists():
        return
    for line in table.read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == "0A" and int(fields[7]) == uid:
            address, port = fields[1].split(":")
            yield fields[9], (_address(address), int(port, 16))


def _address(text: str) -> str:
    """The kernel prints addresses as hex words in the machine's byte order."""
    words = [bytes.fromhex(text[start : start + 8]) for start in range(0, len(text), 8)]
    packed = b"".join(word[::-1] if sys.byteorder == "little" else word for word in words)
    return str(ipaddress.ip_address(packed))


def _program(arguments: list[str]) -> str | None:
    name = Path(arguments[0]).name
    if name in ("raylet", "gcs_server"):
        return name
    line = " ".join(arguments)
    if "ray/dashboard/dashboard.py" in line or "ray.util.client.server" in line:
        return "ray dashboard" if "dashboard.py" in line else "ray client server"
    return "mlflow" if "mlflow server" in line or "mlflow.server" in line else None


def _socket_inodes(process: Path) -> Iterator[str]:
    for descriptor in (process / "fd").iterdir():
        with suppress(OSError):
            target = str(descriptor.readlink())
            if target.startswith("socket:["):
                yield target[8:-1]


def _probe() -> dict[str, str]:
    """Packages that cannot be imported, and gloo if a reduction over it fails, each with its error."""
    try:
        done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, timeout=PROBE_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return {"all": f"importing took more than {PROBE_TIMEOUT_S:.0f} s"}
    _, probe_line, report = done.stdout.rpartition("PROBE")
    failures: dict[str, str] = json.loads(report) if probe_line else {"all": done.stderr.strip()[-500:]}
    return failures


def _distribution(requirement: str) -> str | None:
    """Name of a required distribution; None for those that only extras need."""
    from packaging.requirements import Requirement

    parsed = Requirement(requirement)
    return parsed.name if parsed.marker is None or parsed.marker.evaluate({"extra": ""}) else None


def _extras() -> dict[str, list[str]]:
    names: dict[str, list[str]] = {}
    for extra, requirement in optional():
        names.setdefault(extra, []).append(requirement.name)
    return {extra: problems(faults) for extra, faults in names.items()}


def _store_error(store: Path | str) -> str | None:
    """Why results cannot be written; the store is made if it is missing, as a run would."""
    try:
        Store(store).open()
    except StoreError as error:
        return str(error)
    return None


def _existing(path: Path) -> Path:
    return path if path.exists() else _existing(path.parent)


def _available_memory() -> int:
    """Memory available to new processes: the kernel's estimate, or this container's limit if that is less."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    [available] = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text().strip() if limit.exists() else "max"
    return available if text == "max" else min(available, int(text))


def _cluster_error(address: str | None) -> str | None:
    if address is None:
        return None
    try:
        require_reachable(address)
    except ClusterError as error:
        return str(error)
    return None


def _landlock_abi() -> int | None:
    """Version of Landlock, by which a process gives up access to files; None if the kernel has none."""
    abi = ctypes.CDLL(None).syscall(LANDLOCK_CREATE_RULESET, None, 0, 1)
    return abi if abi > 0 else None
