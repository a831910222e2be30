"""Slurm, Kueue and SkyPilot: the declarations fit each other, the project and their schedulers' rules."""

import os
import re
import stat
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.cli.recipes.run import LIMIT_REACHED

ROOT = Path(__file__).parents[3]
SBATCH = ROOT / "infra" / "slurm" / "run.sbatch"
FAKE = """#!/bin/bash
# Notes how it was called, and answers as the test's cluster would.
echo "$(basename $0) $*" >> "$CALLS"
case "$(basename $0) $*" in
    "scontrol show hostnames"*) printf 'node7\\nnode8\\n' ;;
    *"hostname --ip-address") echo "10.0.0.7 fe80::1" ;;
    *symmetric-run*) exit "${CODE:-0}" ;;
esac
"""


@pytest.fixture
def slurm(tmp_path: Path) -> Any:
    """`slurm(*arguments, **variables)`: run the script on two fake nodes; returns the process and the calls it made."""
    for name in ("srun", "scontrol"):
        (tmp_path / name).write_text(FAKE)
        (tmp_path / name).chmod(0o755)

    def run(*arguments: str, **variables: str) -> tuple[subprocess.CompletedProcess[str], list[str]]:
        environment = {
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
            "HOME": str(tmp_path / "home"),
            "CALLS": str(tmp_path / "calls"),
            "SLURM_JOB_ID": "1234567",
            "SLURM_JOB_NODELIST": "node[7-8]",
            "SLURM_JOB_NUM_NODES": "2",
            "SLURM_CPUS_ON_NODE": "64",
            **variables,
        }
        done = subprocess.run(["bash", str(SBATCH), *arguments], env=environment, capture_output=True, text=True)
        calls = tmp_path / "calls"
        return done, calls.read_text().splitlines() if calls.exists() else []

    return run


def test_slurm_starts_one_ray_node_on_each_machine_and_the_run_on_the_first(slurm: Any) -> None:
    done, calls = slurm("recipe.toml", "s3://bucket/runs", "--set", "train.seed=2")
    assert done.returncode == 0, done.stderr
    [launch] = [call for call in calls if "symmetric-run" in call]
    ray, _, command = launch.partition(" -- ")
    assert ray == (
        "srun --nodes=2 --ntasks-per-node=1 --cpus-per-task=64 ray symmetric-run --address 10.0.0.7:24567 "
        "--min-nodes 2 --disable-usage-stats"
    )
    assert command == "arctic run recipe.toml --store s3://bucket/runs --address auto --set train.seed=2"
    assert not [call for call in calls if "requeue" in call]


def test_the_options_of_symmetric_run_are_rays_own() -> None:
    from ray.scripts.symmetric_run import curate_and_validate_ray_start_args, symmetric_run

    [line] = re.findall(r"ray symmetric-run (.*) --(?: \\)?$", SBATCH.read_text(), re.MULTILINE)
    arguments = line.replace('"', "").split()
    assert curate_and_validate_ray_start_args(arguments) == ["--disable-usage-stats"]
    assert {option.name for option in symmetric_run.params} >= {"address", "min_nodes"}


def test_a_run_stops_before_the_jobs_time_is_over_and_goes_back_into_the_queue(slurm: Any) -> None:
    end = str(int(time.time()) + 2 * 3600 + 900)
    done, calls = slurm("recipe.toml", "store", SLURM_JOB_END_TIME=end, CODE=str(LIMIT_REACHED))
    [launch] = [call for call in calls if "symmetric-run" in call]
    assert float(re.search(r"--max-hours (\S+)", launch)[1]) == pytest.approx(2, abs=0.01)
    assert calls[-1] == "scontrol requeue 1234567"
    assert done.returncode == LIMIT_REACHED


@pytest.mark.parametrize("code", ["1", "2"])
def test_a_run_that_fails_stays_out_of_the_queue(slurm: Any, code: str) -> None:
    done, calls = slurm("recipe.toml", "store", CODE=code)
    assert done.returncode == int(code)
    assert not [call for call in calls if "requeue" in call]


def test_the_token_is_made_once_for_its_owner_alone(slurm: Any, tmp_path: Path) -> None:
    slurm("recipe.toml", "store")
    token = tmp_path / "home" / ".local" / "state" / "arctic" / "ray_token"
    text = token.read_text()
    assert re.fullmatch(r"[0-9a-f]{64}", text)
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    slurm("recipe.toml", "store")
    assert token.read_text() == text


@pytest.mark.parametrize("arguments", [(), ("recipe.toml",)])
def test_a_missing_argument_is_named_before_anything_starts(slurm: Any, arguments: tuple[str, ...]) -> None:
    done, calls = slurm(*arguments)
    assert done.returncode != 0 and "is missing: sbatch run.sbatch RECIPE STORE" in done.stderr
    assert calls == []


def patched(document: Any, operations: list[dict[str, Any]]) -> Any:
    """A document after JSON patches (RFC 6902), of the two kinds that are used."""
    for operation in operations:
        *parents, last = operation["path"].strip("/").split("/")
        location = document
        for part in parents:
            location = location[int(part)] if isinstance(location, list) else location[part]
        assert operation["op"] in ("add", "replace")
        assert (last in location) == (operation["op"] == "replace"), operation
        location[last] = operation["value"]
    return document


def test_kueue_admits_the_job_as_a_gang_of_fixed_size() -> None:
    folder = ROOT / "infra" / "kuberay"
    page = yaml.safe_load((folder / "kustomization.yaml").read_text())
    [resource], [patch] = page["resources"], page["patches"]
    job = yaml.safe_load((folder / resource).read_text())
    group, _, version = job["apiVersion"].partition("/")
    assert patch["target"] == {"group": group, "version": version, "kind": job["kind"]}
    job = patched(job, yaml.safe_load(patch["patch"]))
    assert job["metadata"]["labels"] == {"kueue.x-k8s.io/queue-name": "arctic"}
    assert job["spec"]["suspend"] is True
    # Kueue refuses a RayJob whose cluster outlives it or grows by itself.
    assert job["spec"]["shutdownAfterJobFinishes"] is True
    assert job["spec"]["rayClusterSpec"]["enableInTreeAutoscaling"] is False
    assert "clusterSelector" not in job["spec"]
    for pool in job["spec"]["rayClusterSpec"]["workerGroupSpecs"]:
        assert pool["replicas"] == pool["minReplicas"] == pool["maxReplicas"] > 0


def test_the_spot_job_goes_on_from_a_bucket_on_any_cloud() -> None:
    task = yaml.safe_load((ROOT / "infra" / "skypilot" / "run.yaml").read_text())
    assert task["resources"]["use_spot"] is True
    assert {each["infra"] for each in task["resources"]["any_of"]} == {"aws", "gcp", "azure"}
    assert "://" in task["envs"]["STORE"]
    assert (ROOT / task["envs"]["RECIPE"]).exists()
    # Without a shared file system, the workers of a stage meet on one machine.
    assert task["num_nodes"] == 1
    assert "torch==2.13.0" in task["setup"] and "-c constraints.txt" in task["setup"]
    assert not re.search(r"(?i)secret|key", str(task["envs"]))
