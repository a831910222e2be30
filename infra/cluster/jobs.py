"""Send a run to a Ray cluster as a job, follow its log, and end with its exit code."""

import json
import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from infra.cluster.connection import ClusterError, is_loopback
from infra.cluster.dashboard import Dashboard, dashboard_url, unencrypted
from infra.cluster.upload import LIMIT_BYTES, UploadError, excludes, measure
from infra.events import RUN_ID_VARIABLE
from infra.host.provenance import GIT_VARIABLE, git_state
from infra.resources.capacity import PATIENCE_VARIABLE

INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 + SIGINT, as shells have it."""

Answer = Literal["stop", "detach", "follow"]
Ask = Callable[[str], Answer]
"""The action for the job of a name after Ctrl-C."""


@dataclass(frozen=True)
class NewJob:
    """The command to run: `python *arguments` in a copy of `working_dir`, with the files that are `needed` of its data.

    `name`: of the run, and so of the job; `metadata`: shown with it; `python`: on the cluster, None for this
    interpreter if the head is on this machine, else "python" there."""

    name: str
    arguments: Sequence[str]
    working_dir: Path
    needed: Sequence[str] = ()
    python: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


def submit(address: str, job: NewJob, *, detach: bool = False, ask: Ask = lambda _: "stop") -> int:
    """Send a job to the cluster whose dashboard is at `address`; print its log until it ends and return its exit code,
    or return 0 at once to `detach`. After Ctrl-C, `ask` decides; a job that is stopped returns 130.

    The copy leaves out secrets, results and data, except needed files (see `infra.cluster.upload`), and is measured
    before it is sent. Raises ClusterError.
    """
    env = runtime_env(job.working_dir, job.needed, job.name)
    url = _measured(address, job, env["excludes"])
    dashboard = Dashboard.at(url)
    is_here = is_loopback(str(urlsplit(dashboard.url).hostname))
    _send(dashboard, [job.python or (sys.executable if is_here else "python"), *job.arguments], env, job)
    print(f"job {job.name}\ndashboard: {dashboard.access_hint}", flush=True)
    if detach:
        print(reattach_hint(job.name, dashboard.url), flush=True)
        return 0
    return follow(dashboard, job.name, ask)


def follow(dashboard: Dashboard, name: str, ask: Ask) -> int:
    """Print the log of a job until it ends and return its exit code; after Ctrl-C, `ask` decides."""
    printed = 0
    while True:
        try:
            for text in dashboard.follow(name, printed):
                print(text, end="", flush=True)
                printed += len(text)
            return _exit_code(dashboard, name)
        except KeyboardInterrupt:
            try:
                answer = ask(name)
            except KeyboardInterrupt:
                answer = "stop"
            if answer == "stop":
                print(f"stopping job {name}", flush=True)
                dashboard.stop(name)
                return INTERRUPTED
            if answer == "detach":
                print(reattach_hint(name, dashboard.url), flush=True)
                return 0


def reattach_hint(name: str, url: str) -> str:
    """How to come back to a job, and how to stop it."""
    return (
        f"{name} goes on. Follow it: arctic logs {name} --follow --address {url}\n"
        f"Stop it: arctic stop {name} --address {url}"
    )


def runtime_env(working_dir: Path, needed: Sequence[str] = (), name: str = "") -> dict[str, Any]:
    """The environment of the job: the folder without excluded files, the commit, the run's name, and the time limit for
    waiting for machines. Anyone who may list jobs reads this, so no secret goes in."""
    variables = {name: os.environ[name] for name in (PATIENCE_VARIABLE,) if name in os.environ}
    if git := git_state():
        variables[GIT_VARIABLE] = json.dumps(git)
    if name:
        variables[RUN_ID_VARIABLE] = name
    env: dict[str, Any] = {"working_dir": str(working_dir), "excludes": excludes(working_dir, needed)}
    return env | ({"env_vars": variables} if variables else {})


def _measured(address: str, job: NewJob, patterns: Sequence[str]) -> str:
    """The URL of the dashboard, once the upload is known to fit. Raises ClusterError."""
    url = dashboard_url(address)
    if warning := unencrypted(url):
        print(warning, flush=True)
    upload = measure(job.working_dir, patterns)
    try:
        upload.require_files(job.needed)
        upload.require_sendable()
    except UploadError as error:
        raise ClusterError(str(error)) from None
    print(f"sending {upload} to {url}", flush=True)
    return url


def _send(dashboard: Dashboard, command: list[str], env: dict[str, Any], job: NewJob) -> None:
    url = dashboard.url
    try:
        dashboard.client.submit_job(
            entrypoint=shlex.join(command), runtime_env=env, submission_id=job.name, metadata=dict(job.metadata)
        )
    except RuntimeError as error:
        hint = "See the head's logs."
        if "status code 413" in str(error):
            hint = (
                f"It takes less than {LIMIT_BYTES // 2**20} MiB, or the limit of a proxy before it: name in .gitignore "
                "the files that the job does not need."
            )
        if "No available agent" in str(error):
            hint = (
                "Another Ray on the head's machine holds the port of its job agent. Start the head with a "
                "--dashboard-agent-listen-port of its own, or a minute after the other has ended."
            )
        raise ClusterError(f"{url}: the head did not take the job ({error}). {hint}") from error


def _exit_code(dashboard: Dashboard, name: str) -> int:
    """The job's own code; 1 if it ended without one, such as when its node died."""
    status = dashboard.wait(name)
    if status == "SUCCEEDED":
        return 0
    job = dashboard.job(name)
    print(f"job {name}: {status}: {job.message}", flush=True)
    return INTERRUPTED if status == "STOPPED" else job.exit_code or 1
