"""Jobs are listed, followed, left alone and stopped; here against a fake of Ray's client."""

from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from infra.cluster import dashboard as dashboards
from infra.cluster.connection import ClusterError
from infra.cluster.dashboard import Dashboard, unencrypted
from infra.cluster.jobs import NewJob, follow, runtime_env, submit
from infra.events import RUN_ID_VARIABLE

URL = "http://127.0.0.1:8265"


class Client:
    """A head with jobs whose logs come in chunks; a chunk that is an exception is raised at its position, once."""

    def __init__(self, logs: dict[str, list[Any]]) -> None:
        self.logs = logs
        self.status = dict.fromkeys(logs, "RUNNING")
        self.submitted: list[dict[str, Any]] = []

    def submit_job(self, **options: Any) -> str:
        self.submitted.append(options)
        name = options["submission_id"]
        self.logs[name], self.status[name] = ["started\n"], "SUCCEEDED"
        return str(name)

    def list_jobs(self) -> list[Any]:
        return [self._details(name, number) for number, name in enumerate(self.logs)] + [self._details(None, 99)]

    def _details(self, name: str | None, number: int) -> Any:
        return SimpleNamespace(
            submission_id=name,
            status=SimpleNamespace(value=self.status.get(name or "", "RUNNING")),
            start_time=1000 * (number + 1),
            end_time=None,
            message="died",
            driver_exit_code=7,
            metadata={"recipe": "web.toml"},
        )

    def get_job_status(self, name: str) -> str:
        return self.status[name]

    def get_job_logs(self, name: str) -> str:
        return "".join(chunk for chunk in self.logs[name] if isinstance(chunk, str))

    def stop_job(self, name: str) -> None:
        self.status[name] = "STOPPED"

    async def tail_job_logs(self, name: str) -> AsyncIterator[str]:
        for number, chunk in enumerate(list(self.logs[name])):
            if isinstance(chunk, BaseException):
                self.logs[name][number] = ""
                raise chunk
            yield chunk
        if self.status[name] == "RUNNING":
            self.status[name] = "SUCCEEDED"


def reach(logs: dict[str, list[Any]]) -> tuple[Dashboard, Client]:
    client = Client(logs)
    return Dashboard(URL, client), client  # type: ignore[arg-type]


def test_jobs_are_listed_newest_first_and_drivers_that_nobody_submitted_are_left_out() -> None:
    reached, _ = reach({"web-1-aaaa": [], "web-2-bbbb": []})
    assert [(job.name, job.status, job.started) for job in reached.jobs()] == [
        ("web-2-bbbb", "RUNNING", 2.0),
        ("web-1-aaaa", "RUNNING", 1.0),
    ]


@pytest.mark.parametrize(("name", "expected"), [("aaaa", "web-1-aaaa"), ("web-2-bbbb", "web-2-bbbb")])
def test_a_job_is_named_by_the_end_of_its_name(name: str, expected: str) -> None:
    assert reach({"web-1-aaaa": [], "web-2-bbbb": []})[0].job(name).name == expected


@pytest.mark.parametrize("name", ["cccc", "", "b"])
def test_a_name_that_is_not_of_one_job_is_answered_with_those_there_are(name: str) -> None:
    with pytest.raises(ClusterError, match=r"web-2-abbb.*arctic jobs --address http://127\.0\.0\.1:8265"):
        reach({"web-1-aaab": [], "web-2-abbb": []})[0].job(name)


def test_a_log_is_followed_to_the_end_and_the_exit_code_is_the_jobs(capsys: pytest.CaptureFixture[str]) -> None:
    reached, client = reach({"web-1": ["one\n", "two\n"]})
    assert follow(reached, "web-1", lambda _: "stop") == 0
    assert capsys.readouterr().out == "one\ntwo\n"
    client.status["web-1"] = "FAILED"
    assert follow(reached, "web-1", lambda _: "stop") == 7


def test_ctrl_c_asks_and_following_goes_on_behind_the_text_that_was_printed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    reached, _ = reach({"web-1": ["one\n", KeyboardInterrupt(), "two\n"]})
    asked: list[str] = []
    assert follow(reached, "web-1", lambda name: asked.append(name) or "follow") == 0
    assert asked == ["web-1"]
    assert capsys.readouterr().out == "one\ntwo\n"


@pytest.mark.parametrize(
    ("answer", "code", "status", "told"),
    [("stop", 130, "STOPPED", "stopping job web-1"), ("detach", 0, "RUNNING", "arctic logs web-1 --follow")],
)
def test_ctrl_c_stops_the_job_or_leaves_it_alone(
    answer: Any, code: int, status: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    reached, client = reach({"web-1": ["one\n", KeyboardInterrupt(), "two\n"]})
    assert follow(reached, "web-1", lambda _: answer) == code
    assert client.status["web-1"] == status
    assert told in capsys.readouterr().out


def test_a_second_ctrl_c_at_the_question_stops(capsys: pytest.CaptureFixture[str]) -> None:
    def ask(_: str) -> Any:
        raise KeyboardInterrupt

    reached, client = reach({"web-1": [KeyboardInterrupt()]})
    assert follow(reached, "web-1", ask) == 130
    assert client.status["web-1"] == "STOPPED"


def test_a_broken_connection_is_told_with_the_way_back() -> None:
    reached, _ = reach({"web-1": ["one\n", OSError("reset")]})
    with pytest.raises(ClusterError, match=r"reset.*arctic logs web-1 --follow --address http"):
        follow(reached, "web-1", lambda _: "stop")


def test_a_detached_job_has_the_runs_name_and_what_it_was_made_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reached, client = reach({})
    monkeypatch.setattr(Dashboard, "at", lambda url: reached)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "/home/me/token")
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    job = NewJob("web-20260101-aaaa", ["-m", "pipelines.cli"], tmp_path, metadata={"recipe": "web.toml"})
    assert submit(URL, job, detach=True) == 0
    [sent] = client.submitted
    assert (sent["submission_id"], sent["metadata"]) == ("web-20260101-aaaa", {"recipe": "web.toml"})
    assert sent["runtime_env"]["env_vars"][RUN_ID_VARIABLE] == "web-20260101-aaaa"
    output = capsys.readouterr().out
    assert "started" not in output
    assert "arctic stop web-20260101-aaaa" in output
    assert "/home/me/token" in output


def test_a_followed_job_prints_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reached, _ = reach({})
    monkeypatch.setattr(Dashboard, "at", lambda url: reached)
    assert submit(URL, NewJob("web-1", [], tmp_path)) == 0
    assert "started" in capsys.readouterr().out


def test_the_name_of_a_run_goes_along(tmp_path: Path) -> None:
    assert runtime_env(tmp_path, name="web-1")["env_vars"][RUN_ID_VARIABLE] == "web-1"


@pytest.mark.parametrize(("url", "warned"), [("http://10.0.0.1:8265", True), (URL, False), ("https://head", False)])
def test_a_token_in_the_clear_is_warned_of(url: str, warned: bool) -> None:
    assert bool(unencrypted(url)) == warned


def test_waiting_ends_with_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    reached, client = reach({"web-1": []})
    monkeypatch.setattr(dashboards.time, "sleep", lambda _: client.stop_job("web-1"))
    assert reached.wait("web-1") == "STOPPED"
