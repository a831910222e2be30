"""The jobs of a Ray cluster, through its dashboard: list them, read and follow their logs, stop them."""

import asyncio
import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from infra.cluster.connection import ClusterError, is_loopback, refused_token, token_file, use_token
from infra.host.surroundings import prepare, without_credentials
from infra.host.web import proxy_of

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

POLL_S = 0.5
STOP_TIMEOUT_S = 30.0
ENDED = {"STOPPED", "SUCCEEDED", "FAILED"}


@dataclass(frozen=True)
class Job:
    """A job: its `name` is that of its run. `metadata`: given at submission, such as its recipe; times are Unix
    seconds, None if it has not started or ended."""

    name: str
    status: str
    started: float | None
    ended: float | None
    message: str
    exit_code: int | None
    metadata: Mapping[str, str] = field(default_factory=dict)


class Dashboard:
    """The dashboard at `url`, asked through Ray's own client."""

    def __init__(self, url: str, client: "JobSubmissionClient") -> None:
        self.url = url
        self.client = client

    @classmethod
    def at(cls, address: str) -> "Dashboard":
        """Connect with this user's token. Raises ClusterError."""
        url = dashboard_url(address)
        prepare()
        use_token(may_create=False)
        client = _client(url)
        _quiet()
        return cls(url, client)

    def jobs(self) -> list[Job]:
        """Every job that was submitted, the newest first."""
        details = [each for each in self.client.list_jobs() if each.submission_id]
        return sorted(map(_job, details), key=lambda job: (job.started or float("inf"), job.name), reverse=True)

    def job(self, name: str) -> Job:
        """The job of this name, or the only one whose name ends so. Raises ClusterError."""
        jobs = self.jobs()
        named = [job for job in jobs if job.name == name] or [job for job in jobs if name and job.name.endswith(name)]
        if len(named) != 1:
            problem = f"{len(named)} jobs end in {name!r}" if named else f"no job {name!r}"
            shown = ", ".join(job.name for job in (named or jobs)[:5]) or "none"
            raise ClusterError(f"{self.url}: {problem}. There are {shown}; arctic jobs --address {self.url} lists all.")
        return named[0]

    def logs(self, name: str) -> str:
        """Everything that a job has printed so far."""
        return str(self.client.get_job_logs(name))

    def follow(self, name: str, printed: int = 0) -> Iterator[str]:
        """The log of a job from character `printed` on, until the job ends. Raises ClusterError if the connection
        breaks."""
        lines = self.client.tail_job_logs(name)

        async def next_text() -> str | None:
            return await anext(lines, None)

        seen = 0
        try:
            with asyncio.Runner() as runner:
                while (text := runner.run(next_text())) is not None:
                    new = text[max(0, printed - seen) :]
                    seen += len(text)
                    if new:
                        yield new
        except (RuntimeError, OSError) as error:
            raise ClusterError(
                f"job {name}: the connection to its log broke ({error}). The job goes on; follow it again with: "
                f"arctic logs {name} --follow --address {self.url}"
            ) from error

    def stop(self, name: str) -> str:
        """Stop a job, and return its status once it has ended, or after STOP_TIMEOUT_S."""
        self.client.stop_job(name)
        return self.wait(name)

    def wait(self, name: str, timeout_s: float = STOP_TIMEOUT_S) -> str:
        """Status of the job, final if it ends in time: the log closes a moment before the job does."""
        deadline = time.monotonic() + timeout_s
        status = _status(self.client.get_job_status(name))
        while status not in ENDED and time.monotonic() < deadline:
            time.sleep(POLL_S)
            status = _status(self.client.get_job_status(name))
        return status

    @property
    def access_hint(self) -> str:
        """The page in a browser, and the location of its token."""
        token = "the variable RAY_AUTH_TOKEN" if "RAY_AUTH_TOKEN" in os.environ else str(token_file())
        return f"{self.url} (it asks for a token: the text in {token})"


def dashboard_url(address: str) -> str:
    """`address` as the URL of a dashboard; the scheme may be left out. Raises ClusterError."""
    url = address if "://" in address else f"http://{address}"
    split = urlsplit(url)
    if split.scheme not in ("http", "https") or not split.hostname:
        raise ClusterError(
            f"{address}: not the address of a dashboard. Give the head's HTTP address, such as http://127.0.0.1:8265."
        )
    return url.rstrip("/")


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


def _quiet() -> None:
    """Ray logs every ignored file and closed socket; set after its import, which sets its own levels."""
    for name in list(logging.root.manager.loggerDict):
        if name.startswith(("ray._private.runtime_env", "ray.dashboard")):
            logging.getLogger(name).setLevel(logging.ERROR)


def unencrypted(url: str) -> str:
    """A warning if the token would travel in the clear; "" if not."""
    split = urlsplit(url)
    if not url.startswith("http:") or is_loopback(str(split.hostname)):
        return ""
    return (
        f"{url} is not encrypted: use it on a private network only, else tunnel with "
        f"`ssh -N -L 8265:127.0.0.1:{split.port or 80} {split.hostname}` and submit to http://127.0.0.1:8265."
    )


def _job(details: Any) -> Job:
    return Job(
        name=details.submission_id,
        status=_status(details.status),
        started=_seconds(details.start_time),
        ended=_seconds(details.end_time),
        message=details.message or "",
        exit_code=details.driver_exit_code,
        metadata=details.metadata or {},
    )


def _status(status: Any) -> str:
    return str(getattr(status, "value", status))


def _seconds(milliseconds: int | None) -> float | None:
    return milliseconds / 1000 if milliseconds else None


@contextmanager
def _without(*names: str) -> Iterator[None]:
    """Ray lets these variables win over the address it is given."""
    hidden = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(hidden)
