"""Every wait of one worker for another ends with the limit that the group was given, and not with one of torch's own.

Resuming from a large checkpoint, a worker may be many minutes late for the first collective of a group."""

import ast
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch.distributed as dist

from infra.groups.group import Member
from pipelines.models.sharing import READING_TIMEOUT_S, expert_group
from pipelines.train.job import WorkerGroup
from pipelines.train.workers.worker import work_in_group

ROOT = Path(__file__).parents[4]
WORLD_IS_LIMITED = "arctic_model/training/engine/worker_groups.py"
"""Its groups are made within `collective_timeout`, which test_comm_stream tests."""


class BegunError(Exception):
    """Instead of a process group."""


def train(rendezvous: Path) -> None:
    job = SimpleNamespace(group=WorkerGroup(num_workers=2, collective_timeout_s=1800.0))
    work_in_group(job, None, Member(1, 2, rendezvous))  # type: ignore[arg-type]


def share(rendezvous: Path) -> None:
    expert_group(Member(1, 2, rendezvous, True), "cpu")


@pytest.mark.parametrize(("join", "seconds"), [(train, 1800.0), (share, READING_TIMEOUT_S)])
def test_the_store_at_which_workers_meet_has_the_limit_of_the_group(
    join: Any, seconds: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NCCL asks the store for the key of each communicator, and gives up after the store's time, by default 5
    minutes."""
    limits: list[timedelta] = []

    def begun(_: str, *, store: dist.Store, timeout: timedelta, **__: Any) -> None:
        limits.extend((store.timeout, timeout))
        raise BegunError

    for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME", "LOCAL_RANK"):
        monkeypatch.setenv(name, "lo" if name != "LOCAL_RANK" else "0")
    monkeypatch.setattr(dist, "init_process_group", begun)
    with pytest.raises(BegunError):
        join(tmp_path / "meet")
    assert limits == [timedelta(seconds=seconds)] * 2


def calls(name: str) -> Iterator[tuple[str, dict[str, ast.expr]]]:
    """File and keywords of each call of a function in the packages."""
    for package in ("arctic_model", "pipelines", "infra"):
        for file in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == name:
                    yield file.relative_to(ROOT).as_posix(), {each.arg or "": each.value for each in node.keywords}


def test_no_group_is_begun_without_a_limit() -> None:
    begun = list(calls("init_process_group"))
    assert begun
    for file, keywords in begun:
        is_alone = ast.unparse(keywords["world_size"]) == "1"
        assert is_alone or "timeout" in keywords, f"{file}: workers would wait for torch's own time"
    added = list(calls("new_group"))
    assert WORLD_IS_LIMITED in [file for file, _ in added]
    assert [file for file, keywords in added if "timeout" not in keywords and file != WORLD_IS_LIMITED] == []


def test_workers_meet_in_one_way() -> None:
    assert [file for kind in ("FileStore", "TCPStore") for file, _ in calls(kind)] == [
        "arctic_model/training/process.py"
    ]
