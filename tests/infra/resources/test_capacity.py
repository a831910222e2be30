"""The capacity of a cluster, against filling its machines one by one; and a wait that is reported and ends by a time
limit."""

import itertools
import math
import time
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from infra.resources import Demand, capacity
from infra.resources.capacity import Capacity, CapacityError, Limits, Pool, Wait, pools_of

ROOT = Path(__file__).parents[3]
AMOUNTS = st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.0, 4.0])
POOLS = st.lists(st.builds(Pool, AMOUNTS, AMOUNTS, st.integers(0, 3)), min_size=1, max_size=3)


def holds_by_trying(limits: Limits, demand: Demand) -> bool:
    """Fill every choice of machines, part by part."""
    for counts in itertools.product(*(range(pool.max_nodes + 1) for pool in limits.pools)):
        if limits.max_nodes is not None and sum(counts) > limits.max_nodes:
            continue
        placed = 0
        for pool, count in zip(limits.pools, counts, strict=True):
            for _ in range(count):
                cpus, gpus = pool.num_cpus, pool.num_gpus
                while placed < demand.count and cpus >= demand.num_cpus and gpus >= demand.num_gpus:
                    cpus, gpus, placed = cpus - demand.num_cpus, gpus - demand.num_gpus, placed + 1
        if placed >= demand.count:
            return True
    return False


@given(POOLS, st.none() | st.integers(0, 5), st.builds(Demand, st.integers(1, 12), AMOUNTS, AMOUNTS))
def test_a_demand_fits_where_some_choice_of_machines_holds_every_part(pools, max_nodes, demand):
    limits = Limits(tuple(pools), max_nodes)
    if not demand.num_cpus and not demand.num_gpus:
        # A part without resources runs on the head too.
        assert limits.holds(demand)
        return
    assert limits.holds(demand) == holds_by_trying(limits, demand)


def filled(resources: dict[str, dict[str, int]]) -> dict:
    """The shipped cluster, with the resources that `ray up` reads off the cloud's machine types."""
    config = yaml.safe_load((ROOT / "ray_cluster.yaml").read_text())
    for name, result in resources.items():
        config["available_node_types"][name]["resources"] = result
    return config


def test_the_shipped_pools_have_a_largest_size():
    limits = pools_of(filled({"cpu_pool": {"CPU": 16}, "gpu_pool": {"CPU": 48, "GPU": 4}}))
    assert (limits.num_cpus, limits.num_gpus, limits.max_nodes) == (8 * 16 + 4 * 48, 16.0, 12)
    assert limits.holds(Demand(16, 1.0, 1.0)) and not limits.holds(Demand(17, 1.0, 1.0))
    assert limits.holds(Demand(1, 48.0)) and not limits.holds(Demand(1, 49.0))


@pytest.mark.parametrize("resources", [{}, {"cpu_pool": {"CPU": 16}}])
def test_pools_that_do_not_state_their_cpus_have_no_known_size(resources: dict):
    assert pools_of(filled(resources)) is None


def test_the_pools_are_those_of_the_autoscaler_of_the_same_head(tmp_path: Path):
    for number, (address, max_workers) in enumerate([("10.0.0.1:6379", 3), ("10.0.0.2:6379", 7)]):
        config = tmp_path / f"{number}.yaml"
        pool = {"resources": {"CPU": 1}, "max_workers": max_workers}
        config.write_text(yaml.safe_dump({"max_workers": 9, "available_node_types": {"pool": pool}}))
        (tmp_path / str(number)).mkdir()
        line = ["python", "monitor.py", f"--gcs-address={address}", f"--autoscaling-config={config}", ""]
        (tmp_path / str(number) / "cmdline").write_text("\0".join(line))
    (tmp_path / "2").mkdir()
    assert capacity._limits_of_autoscaler("10.0.0.2:6379", tmp_path) == Limits((Pool(1.0, 0.0, 7),), 9)
    assert capacity._limits_of_autoscaler("10.0.0.3:6379", tmp_path) is None


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch):
    """Seconds and machines that a test sets."""

    class Clock:
        now = 100.0
        machines: tuple[Pool, ...] = (Pool(0.0, 0.0, 1),)

    monkeypatch.setattr(time, "monotonic", lambda: Clock.now)
    monkeypatch.setattr(capacity, "machines_up", lambda: Clock.machines)
    return Clock


@pytest.mark.parametrize(
    ("demand", "words"),
    [
        (Demand(1, 0.0, 4.0), "4 GPUs"),
        (Demand(1, 1.0, 0.0), "1 CPU"),
        (Demand(8, 4.0, 1.0), "8 x 1 GPU and 4 CPUs"),
    ],
)
def test_a_wait_is_told_and_given_up_after_the_patience_where_the_size_is_not_known(clock, demand: Demand, words: str):
    events: list[dict] = []
    wait = Wait("train[1]", demand, Capacity(None, 600.0), events.append)
    for second in range(0, 601, 30):
        clock.now = 100.0 + second
        wait.check()
    assert [event["seconds"] for event in events] == list(range(30, 601, 30))
    assert {(event["event"], event["stage"], event["needs"]) for event in events} == {("waiting", "train[1]", words)}
    clock.now += 1
    with pytest.raises(CapacityError, match=rf"train\[1\] needs {words}, and no machines .* within 10 min.*PATIENCE"):
        wait.check()


def test_time_behind_other_work_and_on_pools_of_a_known_size_is_not_given_up(clock):
    existing = Capacity(Limits((Pool(4.0, 4.0, 1),)), 600.0)
    for able, machines in ((Capacity(None, 600.0), (Pool(4.0, 4.0, 1),)), (existing, (Pool(0.0, 0.0, 1),))):
        clock.machines = machines
        wait = Wait("train[1]", Demand(1, 0.0, 4.0), able, [].append)
        for _ in range(100):
            clock.now += 60
            wait.check()


def test_the_patience_counts_only_while_no_machine_could_hold_the_demand(clock):
    wait = Wait("train[1]", Demand(1, 0.0, 4.0), Capacity(None, 600.0), [].append)
    for turn in range(20):
        clock.now += 400
        clock.machines = (Pool(4.0, 4.0 * (turn % 2), 1),)
        wait.check()


@given(up=st.integers(0, 5000), most=st.integers(0, 5000))
def test_shards_ahead_follow_the_cluster_and_make_it_grow(up: int, most: int):
    machines = (Pool(float(up), 0.0, 1),)
    for limits in (None, Limits((Pool(float(most), 0.0, 1),))):
        ahead = Capacity(limits, 0.0).shards_ahead(machines)
        assert 2 <= ahead <= max(128, 4 * up)
        assert ahead >= 2 * up
        if limits is None or most > up:
            # More than the current machines can do at once: an autoscaler has a reason to add machines.
            assert ahead > up


@pytest.mark.parametrize("text", ["soon", "-1", "nan"])
def test_a_patience_that_is_no_number_of_minutes_is_refused(monkeypatch: pytest.MonkeyPatch, text: str):
    monkeypatch.setenv("ARCTIC_PATIENCE_MINUTES", text)
    with pytest.raises(CapacityError, match=rf"ARCTIC_PATIENCE_MINUTES = '{text}': give minutes"):
        capacity.patience_s()
    monkeypatch.setenv("ARCTIC_PATIENCE_MINUTES", "inf")
    assert capacity.patience_s() == math.inf
