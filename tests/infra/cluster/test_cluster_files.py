"""The cluster's declarations are valid for Ray, safe by default, and pinned to the versions that are tested."""

import copy
import re
from importlib import metadata
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from infra.resources.capacity import PATIENCE_MINUTES, PATIENCE_VARIABLE

ROOT = Path(__file__).parents[3]
RAY = metadata.version("ray")
OURS = metadata.version("arctic-pretraining")
POOLS = {"cpu_pool", "gpu_pool"}


@pytest.fixture
def cluster() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "ray_cluster.yaml").read_text())


@pytest.fixture
def job() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "infra" / "kuberay" / "rayjob.yaml").read_text())


def validate(config: dict[str, Any]) -> None:
    """As `ray up` does, before it asks the cloud."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    validate_config(prepare_config(copy.deepcopy(config)))


def test_ray_accepts_the_cluster(cluster: dict[str, Any]):
    validate(cluster)


@pytest.mark.parametrize("place", [[], ["available_node_types", "cpu_pool"]])
def test_ray_rejects_a_typo(cluster: dict[str, Any], place: list[str]):
    section = cluster
    for name in place:
        section = section[name]
    section["max_wrokers"] = 3
    with pytest.raises(jsonschema.ValidationError, match="max_wrokers"):
        validate(cluster)


def test_ray_rejects_a_head_type_that_is_not_declared(cluster: dict[str, Any]):
    cluster["head_node_type"] = "haed"
    with pytest.raises(ValueError, match="must be one of `available_node_types`"):
        validate(cluster)


def test_every_node_has_what_an_evaluation_needs(cluster: dict[str, Any]):
    image = (ROOT / "infra" / "docker" / "Dockerfile").read_text()
    for text in (image, "\n".join(cluster["setup_commands"])):
        (command,) = [line for line in text.split("\n") if re.search(r"pip install .*-e", line)]
        assert "-c constraints.txt -e '.[evaluate,export]'" in command


def test_no_work_lands_on_the_head_and_idle_pools_cost_nothing(cluster: dict[str, Any]):
    types = cluster["available_node_types"]
    assert types["head"]["resources"] == {"CPU": 0}
    assert set(types) == {"head"} | POOLS
    assert all(types[pool]["min_workers"] == 0 for pool in POOLS)
    assert types["cpu_pool"]["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert "InstanceMarketOptions" not in types["head"]["node_config"]


def test_every_node_starts_ray_with_the_token(cluster: dict[str, Any]):
    for phase in ("head_start_ray_commands", "worker_start_ray_commands"):
        [start] = [command for command in cluster[phase] if "ray start" in command]
        exports, _, _ = start.partition("ray start")
        assert "RAY_AUTH_MODE=token" in exports
        assert re.search(r"RAY_AUTH_TOKEN_PATH=(\S+)", exports)[1] in cluster["file_mounts"]
    assert "--dashboard-host=127.0.0.1" in " ".join(cluster["head_start_ray_commands"])


def test_images_are_pinned_to_the_ray_that_is_tested(cluster: dict[str, Any]):
    images = [cluster["docker"]["image"], cluster["available_node_types"]["gpu_pool"]["docker"]["worker_image"]]
    assert images == [f"rayproject/ray:{RAY}-py311-cpu", f"rayproject/ray:{RAY}-py311-gpu"]
    dockerfile = (ROOT / "infra" / "docker" / "Dockerfile").read_text()
    assert re.search(r"^FROM (.*)$", dockerfile, re.MULTILINE)[1] == f"rayproject/ray:{RAY}-py311-${{PLATFORM}}"
    constraints = (ROOT / "constraints.txt").read_text()
    assert f"ray=={RAY}\n" in constraints


def test_the_image_holds_every_package_and_copies_only_what_exists():
    dockerfile = (ROOT / "infra" / "docker" / "Dockerfile").read_text()
    copied = {
        name for line in re.findall(r"^COPY --chown=\S+ (.*) \S+$", dockerfile, re.MULTILINE) for name in line.split()
    }
    assert {"arctic_errors.py", "data_recipes", "arctic_model", "infra", "pipelines"} <= copied
    assert [name for name in copied if not (ROOT / name).exists()] == []


def test_the_kubernetes_job_uses_tokens_and_our_image(job: dict[str, Any]):
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    spec = job["spec"]["rayClusterSpec"]
    assert spec["authOptions"] == {"mode": "token"}
    assert spec["rayVersion"] == RAY
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    groups = {group["groupName"]: group for group in spec["workerGroupSpecs"]}
    assert set(groups) == {pool.replace("_", "-") for pool in POOLS}
    assert all(group["minReplicas"] == 0 for group in groups.values())
    pods = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    images = [pod["template"]["spec"]["containers"][0]["image"] for pod in pods]
    assert images == [f"arctic-pretraining:{OURS}"] * 2 + [f"arctic-pretraining:{OURS}-gpu"]
    assert job["spec"]["backoffLimit"] > 0


def test_every_node_may_write_the_store(cluster: dict[str, Any], job: dict[str, Any]):
    mounted, owned = cluster["initialization_commands"][-2:]
    assert "mount.nfs4" in cluster["initialization_commands"][0]
    assert mounted.endswith(" /mnt/arctic") and owned.endswith("chown 1000:100 /mnt/arctic/store")
    spec = job["spec"]["rayClusterSpec"]
    for pod in [spec["headGroupSpec"], *spec["workerGroupSpecs"]]:
        security = pod["template"]["spec"]["securityContext"]
        assert (security["runAsUser"], security["runAsGroup"], security["fsGroup"]) == (1000, 100, 100)


def test_mlflows_database_lies_on_no_network_file_system(cluster: dict[str, Any], job: dict[str, Any]):
    [start] = [command for command in cluster["head_start_ray_commands"] if "ray start" in command]
    [head] = job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"]
    uris = [
        re.search(r"export MLFLOW_TRACKING_URI=(\S+);.*ray start", start)[1],
        next(each["value"] for each in head["env"] if each["name"] == "MLFLOW_TRACKING_URI"),
    ]
    for uri, machine in zip(uris, ("$(hostname)", "$(POD_NAME)"), strict=True):
        assert uri.startswith("sqlite:////home/ray/") and machine in uri
    assert not any(mount["mountPath"].startswith("/home") for mount in head["volumeMounts"])


def test_the_kubernetes_job_waits_longer_than_a_cloud_takes_to_start_a_machine(job: dict[str, Any]):
    [head] = job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"]
    [patience] = [each["value"] for each in head["env"] if each["name"] == PATIENCE_VARIABLE]
    assert float(patience) >= PATIENCE_MINUTES


def test_the_kubernetes_job_runs_a_recipe_that_exists_on_a_volume_that_is_mounted_everywhere(job: dict[str, Any]):
    words = job["spec"]["entrypoint"].split()
    assert (ROOT / words[words.index("run") + 1]).exists()
    store = words[words.index("--store") + 1]
    spec = job["spec"]["rayClusterSpec"]
    for pod in [spec["headGroupSpec"], *spec["workerGroupSpecs"]]:
        body = pod["template"]["spec"]
        [mounted] = [mount for mount in body["containers"][0]["volumeMounts"] if mount["name"] == "store"]
        assert store.startswith(mounted["mountPath"])
        assert "store" in [volume["name"] for volume in body["volumes"]]
