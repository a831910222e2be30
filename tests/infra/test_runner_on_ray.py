"""The same graphs on a real Ray: side by side, over worker deaths, with the same bytes for any number of workers."""

import os
import signal
import threading
import time

import pytest

from infra import fanout
from infra.context import StageContext
from infra.events import EventLog
from infra.fanout import ShardResult, map_shards
from infra.plan import plan
from infra.resources import Demand, Resources
from infra.resources.capacity import Capacity
from infra.resources.room import reserve
from infra.runner import run, run_inline
from infra.stage import Early, Stage
from infra.store import Store

pytestmark = [pytest.mark.timeout(180), pytest.mark.usefixtures("two_cpus")]


@pytest.fixture
def go(tmp_path):
    def go(stages, runner=run, name="store"):
        store = Store(tmp_path / name).open()
        log = EventLog(store.root / "runs" / "test")
        events = []
        outcome = runner(plan(store, stages), store, log, events.append)
        log.close()
        return outcome, events

    return go


def squares(number, folder):
    (folder / f"{number:05d}.txt").write_text(str(number * number))
    return ShardResult({"square": number * number})


def sum_of_squares(context, inputs):
    results = map_shards(context, squares, list(range(7)))
    return {"sum": float(sum(result.metrics["square"] for result in results))}


def copy_all(context, inputs):
    for name, artifact in sorted(inputs.items()):
        for entry in artifact.manifest.files:
            (context.out / f"{name}-{entry.path}").write_bytes((artifact.path / entry.path).read_bytes())
    return {}


def chain():
    left = Stage("source", "left", 1, {}, {}, sum_of_squares)
    right = Stage("source", "right", 1, {}, {}, sum_of_squares)
    return [left, right, Stage("mix", "1", 1, {}, {"left": left, "right": right}, copy_all)]


def test_a_graph_on_ray_has_the_same_bytes_as_one_in_this_process(go):
    on_ray, _ = go(chain(), run, "ray")
    inline, _ = go(chain(), run_inline, "inline")
    assert on_ray.ok
    assert on_ray.artifacts["mix[1]"].manifest.metrics == inline.artifacts["mix[1]"].manifest.metrics
    digests = [{name: a.manifest.digests() for name, a in outcome.artifacts.items()} for outcome in (on_ray, inline)]
    assert digests[0] == digests[1]
    assert len(digests[0]["mix[1]"]) == 14


def test_a_worker_that_dies_is_replaced_and_finished_shards_stay(go, tmp_path):
    log = tmp_path / "log"

    def deadly(number, folder):
        with log.open("a") as file:
            file.write(f"{number}\n")
        if number == 3 and log.read_text().split().count("3") < 3:
            os._exit(9)
        return squares(number, folder)

    def work(context, inputs):
        return {"sum": float(sum(result.metrics["square"] for result in map_shards(context, deadly, list(range(5)))))}

    outcome, events = go([Stage("source", "web", 1, {}, {}, work)])
    assert outcome.ok
    assert outcome.artifacts["source[web]"].manifest.metrics == {"sum": 30.0}
    tries = log.read_text().split()
    assert tries.count("3") == 3
    done = [event["done"] for event in events if event["event"] == "progress"]
    assert done == sorted(done)
    assert done[-1] == 5


def test_a_shard_is_not_computed_again_if_its_worker_died_after_the_commit(tmp_path, monkeypatch):
    log, commit = tmp_path / "log", fanout._commit_shard

    def logged(number, folder):
        with log.open("a") as file:
            file.write(f"{number}\n")
        return squares(number, folder)

    def commit_and_die(work, shard, folder, stop):
        is_first = not folder.exists()
        finished = commit(work, shard, folder, stop)
        if is_first and shard % 2:
            os._exit(9)
        return finished

    monkeypatch.setattr(fanout, "_commit_shard", commit_and_die)
    (tmp_path / "out").mkdir()
    context = StageContext("source[web]", tmp_path / "out", tmp_path / "state", [].append, parallel=True)
    results = map_shards(context, logged, list(range(4)))
    assert [result.metrics["square"] for result in results] == [0, 1, 4, 9]
    assert sorted(log.read_text().split()) == ["0", "1", "2", "3"]


def test_room_that_a_killed_stage_reserved_is_free_for_its_next_attempt(go, tmp_path):
    killed = tmp_path / "killed"

    def reserve_all(context, inputs):
        from ray.util import remove_placement_group

        room = reserve(context.stage_id, Demand(2, 1.0))
        has_room = room.wait(30)
        if not killed.exists():
            killed.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        remove_placement_group(room)
        return {"has_room": float(has_room)}

    outcome, _ = go([Stage("train", "1", 1, {}, {}, reserve_all)])
    assert outcome.artifacts["train[1]"].manifest.metrics == {"has_room": 1.0}


def test_an_error_in_a_shard_keeps_its_own_words(go):
    def work(context, inputs):
        map_shards(context, lambda number, folder: 1 // number, [0])
        return {}

    bad = Stage("source", "web", 1, {}, {}, work)
    outcome, _ = go([bad, Stage("mix", "1", 1, {}, {"source": bad}, copy_all)])
    assert outcome.failed == {"source[web]": "ZeroDivisionError: integer division or modulo by zero"}
    assert outcome.skipped == {"mix[1]": "source[web]"}


def test_independent_stages_run_at_the_same_time(go, tmp_path):
    def meet(context, inputs):
        (tmp_path / context.stage_id).touch()
        deadline = time.monotonic() + 60
        while len(list(tmp_path.glob("source*"))) < 2:
            assert time.monotonic() < deadline, "the other stage never came"
            time.sleep(0.05)
        return {}

    outcome, _ = go([Stage("source", name, 1, {}, {}, meet) for name in ("a", "b")])
    assert outcome.ok, outcome.failed


def test_progress_reaches_the_watcher_while_the_work_goes_on(tmp_path):
    seen = threading.Event()

    def wait_for_watcher(context: StageContext, inputs):
        context.progress(1, 2, "steps")
        deadline = time.monotonic() + 60
        while not (tmp_path / "seen").exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        return {}

    def watch(event):
        if event["event"] == "progress":
            (tmp_path / "seen").touch()
            seen.set()

    store = Store(tmp_path / "store").open()
    outcome = run(
        plan(store, [Stage("train", "1", 1, {}, {}, wait_for_watcher)]),
        store,
        EventLog(store.root / "runs" / "r"),
        watch,
    )
    assert outcome.ok
    assert seen.is_set()


@pytest.fixture
def unknown(monkeypatch):
    """A cluster of which nobody knows how large it can be; a demand is given up after 8 s."""
    monkeypatch.setattr(Capacity, "look", staticmethod(lambda: Capacity(None, 8.0)))


class Machine:
    """A simulated machine, which joins in a while and can leave at once."""

    def __init__(self, after_s, num_cpus, num_gpus=0):
        self._thread = threading.Thread(target=self._join, args=(after_s, num_cpus, num_gpus))
        self._thread.start()

    def _join(self, after_s, num_cpus, num_gpus):
        import ray
        from ray._private.node import Node
        from ray._private.parameter import RayParams

        time.sleep(after_s)
        address = ray.get_runtime_context().gcs_address
        ports = {"min_worker_port": 0, "max_worker_port": 0, "dashboard_agent_listen_port": 0, "dashboard_port": None}
        memory = {"object_store_memory": 80 * 2**20}
        location = {"redis_address": address, "gcs_address": address}
        parameters = RayParams(num_cpus=num_cpus, num_gpus=num_gpus, **location, **ports, **memory)
        self._node = Node(parameters, head=False, shutdown_at_exit=False, spawn_reaper=False)

    def leave(self):
        self._thread.join()
        self._node.kill_all_processes(check_alive=False, allow_graceful=False)


@pytest.fixture
def machine():
    joined = []

    def machine(*arguments):
        joined.append(Machine(*arguments))
        return joined[-1]

    yield machine
    for one in joined:
        one.leave()


def test_shards_follow_a_machine_that_joins_and_leaves(go, unknown, machine, tmp_path):
    marks = tmp_path / "marks"
    marks.mkdir()

    def slow(number, folder):
        import ray

        (marks / f"{number}-{ray.get_runtime_context().get_node_id()}").touch()
        time.sleep(0.3)
        return squares(number, folder)

    def work(context, inputs):
        return {"sum": float(sum(result.metrics["square"] for result in map_shards(context, slow, list(range(60)))))}

    def leave():
        deadline = time.monotonic() + 60
        while len({path.name.split("-")[1] for path in marks.iterdir()}) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        guest.leave()

    guest = machine(0, 2)
    leaving = threading.Thread(target=leave)
    leaving.start()
    outcome, _ = go([Stage("source", "web", 1, {}, {}, work)])
    leaving.join()
    assert outcome.ok, outcome.failed
    assert outcome.artifacts["source[web]"].manifest.metrics == {"sum": float(sum(n * n for n in range(60)))}
    assert len({path.name.split("-")[1] for path in marks.iterdir()}) == 2


def test_a_stage_waits_for_a_machine_that_joins_late(go, unknown, machine):
    def count_gpus(context, inputs):
        import ray

        return {"gpus": len(ray.get_gpu_ids())}

    machine(3, 1, 4)
    waiting = Stage("train", "1", 1, {}, {}, count_gpus, Resources(1, 4))
    outcome, _ = go([waiting, Stage("mix", "1", 1, {}, {"train": waiting}, copy_all)])
    assert outcome.ok, outcome.failed
    assert outcome.artifacts["train[1]"].manifest.metrics == {"gpus": 4}


def test_a_stage_no_machine_comes_for_is_given_up_and_says_so_meanwhile(go, unknown):
    waiting = Stage("train", "1", 1, {}, {}, copy_all, Resources(num_gpus=4))
    behind = Stage("evaluate", "1", 1, {}, {"train": waiting}, copy_all)
    outcome, events = go([waiting, behind, Stage("source", "left", 1, {}, {}, sum_of_squares)])
    assert "train[1] needs 4 GPUs, and no machines that could hold it came up" in outcome.failed["train[1]"]
    assert "ARCTIC_PATIENCE_MINUTES" in outcome.failed["train[1]"]
    assert outcome.skipped == {"evaluate[1]": "train[1]"}
    assert set(outcome.artifacts) == {"source[left]"}
    waits = [event for event in events if event["event"] == "waiting"]
    assert {(event["stage"], event["needs"]) for event in waits} == {("train[1]", "4 GPUs")}
    assert waits[0]["seconds"] >= 5


def test_a_stage_that_no_node_can_hold_fails_at_once_and_those_behind_it_are_skipped(go):
    huge = Stage("train", "1", 1, {}, {}, copy_all, Resources(num_cpus=64))
    behind = Stage("evaluate", "1", 1, {}, {"train": huge}, copy_all)
    beside = Stage("source", "left", 1, {}, {}, sum_of_squares)
    outcome, _ = go([huge, behind, beside])
    assert "train[1] needs 64 CPUs, the cluster can have 2 CPUs" in outcome.failed["train[1]"]
    assert outcome.skipped == {"evaluate[1]": "train[1]"}
    assert set(outcome.artifacts) == {"source[left]"}


def train_until(released):
    def work(context, inputs):
        beside = context.state.with_suffix(".weights")
        beside.mkdir()
        (beside / "step-400").write_text("weights")
        deadline = time.monotonic() + 60
        while not released.exists():
            if time.monotonic() > deadline:
                raise TimeoutError("nobody read the weights while the training went on")
            time.sleep(0.05)
        return {}

    return work


def read_early(released):
    def work(context, inputs):
        assert not (inputs["train"].folder / "manifest.json").exists()
        released.touch()
        return {"characters": float(len(context.early.read_text()))}

    return work


def early_stage(train, work, name="step-400"):
    early = Early("train", (f"{train.subject}-{train.key}.weights/{name}",), "Keep the weights.")
    return Stage("evaluate", "1.400", inputs={"train": train}, work=work, early=early)


def test_a_stage_begins_with_what_an_unfinished_input_has_left(go, tmp_path):
    released = tmp_path / "released"
    train = Stage("train", "1", work=train_until(released))
    early = early_stage(train, read_early(released))
    report = Stage("report", inputs={"train": train, "early": early}, work=lambda context, inputs: {})
    outcome, events = go([report])
    assert outcome.ok
    assert outcome.artifacts["evaluate[1.400]"].manifest.metrics == {"characters": 7.0}
    assert [event["stage"] for event in events if event["event"] == "stage_finished"][-1] == "report"


def test_a_stage_that_reads_a_failed_input_does_not_wait_for_it(go):
    def fail(context, inputs):
        raise RuntimeError("diverged")

    train = Stage("train", "1", work=fail)
    outcome, _ = go([early_stage(train, lambda context, inputs: {})])
    assert outcome.failed == {"train[1]": "RuntimeError: diverged"}
    assert outcome.skipped == {"evaluate[1.400]": "train[1]"}
