"""Send a run to a Ray cluster as a job, follow its log, and end with its exit code."""

import asyncio
import json
import logging
import os
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from infra.cluster.connection import ClusterError, is_loopback, refused_token, use_token
from infra.cluster.upload import LIMIT_BYTES, UploadError, excludes, measure
from infra.host.provenance import GIT_VARIABLE, git_state
from infra.host.surroundings import prepare, without_credentials
from infra.host.web import proxy_of
from infra.resources.capacity import PATIENCE_VARIABLE

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 + SIGINT, as shells have it."""
POLL_S = 0.5
STOP_TIMEOUT_S = 30.0


def submit(
    address: str,
    arguments: Sequence[str],
    working_dir: Path,
    *,
    needed: Sequence[str] = (),
    python: str | None = None,
) -> int:
    """Run `python *arguments` on the cluster whose dashboard is at `address`, in a copy of `working_dir`; print its log
    until it ends and return its exit code. Ctrl-C stops the job and returns 130.

    The copy leaves out secrets, results and data, except what is `needed` (see `infra.cluster.upload`), and is measured
    before it is sent. `python` defaults to this interpreter for a head on this machine, else to "python" there. Raises
    ClusterError.
    """
    url = dashboard_url(address)
    prepare()
    use_token(may_create=False)
    is_here = is_loopback(str(urlsplit(url).hostname))
    if url.startswith("http:") and not is_here:
        print(_unencrypted(url), flush=True)
    env = runtime_env(working_dir, needed)
    _measure(working_dir, env["excludes"], needed, url)
    client = _client(url)
    _quiet()
    job_id = _send(client, [python or (sys.executable if is_here else "python"), *arguments], env, url)
    print(f"job {job_id}; Ctrl-C stops it", flush=True)
    try:
        asyncio.run(_follow(client, job_id))
        return _exit_code(client, job_id)
    except KeyboardInterrupt:
        print(f"stopping job {job_id}", flush=True)
        client.stop_job(job_id)
        _wait(client, job_id, STOP_TIMEOUT_S)
        return INTERRUPTED


def dashboard_url(address: str) -> str:
    """`address` as the URL of a dashboard; the scheme may be left out. Raises ClusterError."""
    url = address if "://" in address else f"http://{address}"
    split = urlsplit(url)
    if split.scheme not in ("http", "https") or not split.hostname:
        raise ClusterError(
            f"{address}: not the address of a dashboard. Give the head's HTTP address, such as http://127.0.0.1:8265."
        )
    return url.rstrip("/")


def runtime_env(working_dir: Path, needed: Sequence[str] = ()) -> dict[str, Any]:
    """What the job gets: the folder without what stays at home, the commit, and the patience with which it waits for
    machines. Anyone who may list jobs reads this, so no secret goes in."""
    variables = {name: os.environ[name] for name in (PATIENCE_VARIABLE,) if name in os.environ}
    if git := git_state():
        variables[GIT_VARIABLE] = json.dumps(git)
    env: dict[str, Any] = {"working_dir": str(working_dir), "excludes": excludes(working_dir, needed)}
    return env | ({"env_vars": variables} if variables else {})


def _measure(working_dir: Path, patterns: Sequence[str], needed: Sequence[str], url: str) -> None:
    upload = measure(working_dir, patterns)
    try:
        upload.require_files(needed)
        upload.require_sendable()
    except UploadError as error:
        raise ClusterError(str(error)) from None
    print(f"sending {upload} to {url}", flush=True)


def _client(url: str) -> "JobSubmissionClient":
    from ray.exceptions import AuthenticationError
    from ray.job_submission import JobSubmissionClient

    try:
        with _without("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):
            return JobSubmissionClient(url)
    except AuthenticationError:
        raise ClusterError(refused_token(url)) from None
    except ConnectionError:
        proxy = proxy_of(url)
        way = f" Asked through the proxy {without_credentials(proxy)}; no_proxy names hosts without." if proxy else ""
        raise ClusterError(
            f"{url}: no dashboard answers there. Is the head running, and the tunnel open?{way}"
        ) from None


def _send(client: "JobSubmissionClient", command: list[str], env: dict[str, Any], url: str) -> str:
    try:
        return str(client.submit_job(entrypoint=shlex.join(command), runtime_env=env))
    except RuntimeError as error:
        hint = "See the head's logs."
        if "status code 413" in str(error):
            hint = (
                f"It takes less than {LIMIT_BYTES // 2**20} MiB, or what a proxy before it allows: name in .gitignore "
                "what the job does not need."
            )
        if "No available agent" in str(error):
            hint = (
                "Another Ray on the head's machine holds the port of its job agent. Start the head with a "
                "--dashboard-agent-listen-port of its own, or a minute after the other has ended."
            )
        raise ClusterError(f"{url}: the head did not take the job ({error}). {hint}") from error


def _quiet() -> None:
    """Ray tells every ignored file and closed socket; set after its import, which sets levels of its own."""
    for name in list(logging.root.manager.loggerDict):
        if name.startswith(("ray._private.runtime_env", "ray.dashboard")):
            logging.getLogger(name).setLevel(logging.ERROR)


def _unencrypted(url: str) -> str:
    split = urlsplit(url)
    return (
        f"{url} is not encrypted: use it on a private network only, else tunnel with "
        f"`ssh -N -L 8265:127.0.0.1:{split.port or 80} {split.hostname}` and submit to http://127.0.0.1:8265."
    )


async def _follow(client: "JobSubmissionClient", job_id: str) -> None:
    try:
        async for lines in client.tail_job_logs(job_id):
            print(lines, end="", flush=True)
    except (RuntimeError, OSError) as error:
        raise ClusterError(
            f"job {job_id}: the connection to its log broke ({error}). The job goes on; see it in the dashboard, or "
            "submit again once it has ended: what it committed is reused."
        ) from error


def _exit_code(client: "JobSubmissionClient", job_id: str) -> int:
    """The job's own code; 1 if it ended without one, such as when its node died."""
    status = _wait(client, job_id, STOP_TIMEOUT_S)
    if status == "SUCCEEDED":
        return 0
    info = client.get_job_info(job_id)
    print(f"job {job_id}: {status}: {info.message}", flush=True)
    return INTERRUPTED if status == "STOPPED" else info.driver_exit_code or 1


def _wait(client: "JobSubmissionClient", job_id: str, timeout_s: float) -> str:
    """Status of the job, final if it ends in time: the log closes a moment before the job does."""
    deadline = time.monotonic() + timeout_s
    status = client.get_job_status(job_id)
    while not status.is_terminal() and time.monotonic() < deadline:
        time.sleep(POLL_S)
        status = client.get_job_status(job_id)
    return str(status.value)


@contextmanager
def _without(*names: str) -> Iterator[None]:
    """Ray lets these variables win over the address it is given."""
    hidden = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(hidden)
