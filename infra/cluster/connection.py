"""Reach a Ray cluster, or start one on this machine that dies with this process. Token authentication is always on,
and a cluster that was started here listens on loopback only."""

import fcntl
import ipaddress
import logging
import os
import secrets
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from arctic_errors import UserError
from infra.cluster.watch import limited
from infra.host.surroundings import home_folder, prepare, private_folder, ray_folder

LOCAL = "local"
NAMESPACE = "arctic"
REACH_TIMEOUT_S = 5.0
START_LIMIT_S = 180.0
"""Ray has limits of its own (30 s for the raylet, 60 s for the GCS), but none on joining a raylet that has stopped."""
OBJECT_STORE_BYTES = 256 * 2**20
"""For a local cluster: only manifests travel through Ray, so its default of 30 % of the memory is too much."""
IDLE_WORKER_S = 60
"""How long a local cluster keeps a process that has no task. With Ray's default of one second, each stage starts others
and imports its packages again."""


class ClusterError(UserError, RuntimeError):
    """A cluster cannot be used: the message contains the reason and the remedy."""


@dataclass(frozen=True)
class Cluster:
    """The cluster this process is connected to, as it was when the connection was made."""

    address: str
    is_local: bool
    num_cpus: float
    num_gpus: float


@contextmanager
def connect(address: str | None = None, *, num_cpus: int | None = None) -> Iterator[Cluster]:
    """Connect to `address` ("auto", "host:6379", "ray://host:10001", "local"), or to RAY_ADDRESS if it is None, or else
    start a cluster of `num_cpus` (default: all) on this machine.

    Call it in a thread that lives as long as the cluster: the kernel ends a local cluster with the thread that started
    it. Only a cluster that was started here is shut down; an existing connection is used unchanged. Raises
    ClusterError. If Ray does not answer within `START_LIMIT_S`, the process is killed with a message: the call cannot
    be interrupted.
    """
    if "ray" in sys.modules and sys.modules["ray"].is_initialized():
        yield _describe("connected before", is_local=False)
        return
    prepare()
    target = address or os.environ.get("RAY_ADDRESS") or LOCAL
    use_token(may_create=target == LOCAL)
    _listen_to_others(target != LOCAL)
    if target == LOCAL:
        if folder := ray_folder():
            os.environ["RAY_TMPDIR"] = folder
        options: dict[str, Any] = {
            "num_cpus": num_cpus,
            "include_dashboard": False,
            "object_store_memory": OBJECT_STORE_BYTES,
        }
    else:
        require_reachable(target)
        options = {"runtime_env": {"env_vars": ray_env()}}
        # Attempts of a second each, before Ray is imported: by now the head answers, so only a wrong token uses them.
        os.environ.setdefault("RAY_NUM_REDIS_GET_RETRIES", "3")
    import ray

    try:
        with _defaults(_local_env() if target == LOCAL else {}), limited(START_LIMIT_S, _unanswered(target)):
            ray.init(address=target, namespace=NAMESPACE, log_to_driver=False, logging_level=logging.ERROR, **options)
    # Ray ends the process if a head does not answer.
    except (Exception, SystemExit) as error:
        ray.shutdown()
        raise ClusterError(_explain(target, error)) from error
    try:
        yield _describe(target, is_local=target == LOCAL)
    finally:
        ray.shutdown()


@contextmanager
def _defaults(variables: Mapping[str, str]) -> Iterator[None]:
    """Set those of `variables` that are not set, for processes which start meanwhile; this one, whose libraries may
    have started their threads already, does not keep them."""
    added = {name: value for name, value in variables.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


def ray_env() -> dict[str, str]:
    """Environment of the workers: one thread each, since stages spread shards over processes."""
    return thread_env(1) | {"RAY_USAGE_STATS_ENABLED": "0"}


def _local_env() -> dict[str, str]:
    return ray_env() | {"RAY_idle_worker_killing_time_threshold_ms": str(1000 * IDLE_WORKER_S)}


def thread_env(num_threads: int) -> dict[str, str]:
    """Environment of a process whose libraries may use this number of threads: numba reads it once, when it starts."""
    return {"OMP_NUM_THREADS": str(num_threads), "NUMBA_NUM_THREADS": str(num_threads)}


def use_token(*, may_create: bool) -> None:
    """Switch Ray's token authentication on for this process and those it starts. Raises ClusterError.

    The token is RAY_AUTH_TOKEN, or in the file `token_file()`, which is created if it is missing or empty and
    `may_create`.
    """
    os.environ["RAY_AUTH_MODE"] = "token"
    if "RAY_AUTH_TOKEN" not in os.environ:
        path = token_file()
        if not _holds_token(path):
            if not may_create:
                raise ClusterError(
                    f"{path}: no token for this cluster. Copy the head's token there (mode 0600), or set "
                    "RAY_AUTH_TOKEN_PATH to the file that has it."
                )
            _write_token(path)
        os.environ["RAY_AUTH_TOKEN_PATH"] = str(path)
    if "ray" in sys.modules:
        # Ray reads mode and token once, at import.
        from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]

        Config.initialize("")
        AuthenticationTokenLoader.instance().reset_cache()


def _listen_to_others(enabled: bool) -> None:
    """Whether Ray's processes are there for other machines, or on loopback alone.

    Its ports for metrics ask nobody for a token. The switch is the one by which Ray on Windows and macOS is local.
    """
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "1" if enabled else "0"
    if "ray" in sys.modules:
        # Ray reads it once, at import.
        from ray._private import ray_constants

        ray_constants.ENABLE_RAY_CLUSTER = enabled


def token_file() -> Path:
    """Path of the token file, which need not exist: RAY_AUTH_TOKEN_PATH, else this user's state folder, unless only
    Ray's own ~/.ray/auth_token exists. Ray makes that file unasked, for clusters that are not ours."""
    if path := os.environ.get("RAY_AUTH_TOKEN_PATH"):
        return Path(path)
    state = Path(os.environ.get("XDG_STATE_HOME") or _home() / ".local" / "state")
    ours, rays_own = state / "arctic" / "ray_token", _rays_token()
    return rays_own if rays_own.exists() and not ours.exists() else ours


def refused_token(address: str) -> str:
    """The remedy if the cluster at `address` refuses the token of this process."""
    if "RAY_AUTH_TOKEN" in os.environ:
        where = "the variable RAY_AUTH_TOKEN"
    else:
        where = str(token_file())
        if _rays_token().exists() and _rays_token() != token_file():
            where += f" (Ray's own, {_rays_token()}, was not tried)"
    return (
        f"{address}: the cluster refuses the token of {where}. Use the token that its head was started with: "
        "RAY_AUTH_TOKEN_PATH names its file."
    )


def _rays_token() -> Path:
    return _home() / ".ray" / "auth_token"


def _home() -> Path:
    return home_folder() or private_folder()


def require_reachable(address: str) -> None:
    """Raise ClusterError if nothing listens at `host:port`: Ray itself would wait two minutes. Names such as "auto"
    pass."""
    split = urlsplit(address if "://" in address else f"//{address}")
    if split.hostname is None or split.port is None:
        return
    try:
        socket.create_connection((split.hostname, split.port), REACH_TIMEOUT_S).close()
    except OSError as error:
        raise ClusterError(
            f"{address}: nothing answers there ({error.strerror or error}). Is the head running, and the port open "
            "from here? Leave --address out to run on this machine."
        ) from None


def is_loopback(host: str) -> bool:
    """Whether a host name or address means this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _holds_token(path: Path) -> bool:
    """Whether the file has content: a power cut may have left none in one that was just made."""
    return path.exists() and path.stat().st_size > 0


def _write_token(path: Path) -> None:
    """Make the token under its name at once and whole, so that two processes never use two tokens."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _locked_folder(path.parent):
            if _holds_token(path):
                return
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(secrets.token_hex(32))
                file.flush()
                os.fsync(file.fileno())
            draft.rename(path)
    except OSError as error:
        raise ClusterError(
            f"{path}: the token of this user's clusters cannot be made ({error.strerror}). Set RAY_AUTH_TOKEN_PATH to "
            "a file in a folder that you can write, or XDG_STATE_HOME to such a folder."
        ) from None


@contextmanager
def _locked_folder(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _unanswered(address: str) -> str:
    return (
        f"{address}: Ray has not answered for {START_LIMIT_S:.0f} s, so this process was ended. Run the same command "
        "again: it goes on from what was committed."
    )


def _explain(address: str, error: BaseException) -> str:
    # Ray wraps a refusal in its general errors, as their cause or as text.
    if any("AuthenticationError" in f"{type(cause).__name__}: {cause}" for cause in _causes(error)):
        return refused_token(address)
    if isinstance(error, SystemExit) and address == LOCAL:
        return "Ray was stopped while it started on this machine. Run the same command again."
    if isinstance(error, SystemExit):
        return f"{address}: something answers there, but not as a Ray head. Give the head's GCS port (default 6379)."
    text = str(error).strip() or type(error).__name__
    return f"{address}: cannot connect to Ray: {text.splitlines()[0]}"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _describe(address: str, *, is_local: bool) -> Cluster:
    import ray

    resources = ray.cluster_resources()
    return Cluster(address, is_local, resources.get("CPU", 0.0), resources.get("GPU", 0.0))
