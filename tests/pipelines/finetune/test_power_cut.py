"""A power cut after a fine-tune on pairs."""

from pathlib import Path

from tests.kit.files import watched_disk
from tests.pipelines.finetune.test_finetune_stage import Workshop


def test_a_power_cut_takes_nothing_that_the_next_attempt_reads(tmp_path: Path) -> None:
    workshop = Workshop(tmp_path)
    with watched_disk() as disk:
        workshop.run("preferred", workshop.base(seed=7), None, "dpo")

    state = workshop.home / "preferred-state"
    lost = {file.relative_to(state).as_posix() for file in state.rglob("*") if file.is_file() and not disk.has(file)}
    passing = {file for file in lost if file.startswith(("heartbeats/", "worker_time/")) and file.endswith(".json")}
    assert lost == passing
