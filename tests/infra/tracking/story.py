"""The log of a run as its driver writes it, with the results that it names, for tests of tracking."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from infra.events import EventLog
from infra.stage import Stage
from infra.store import Store
from tests.kit.stages import idle_stage

START = 1_800_000_000.0

SAMPLES = {"prompt": ["1 + 1?", "why?"], "answer": ["two", "because"], "right": [True, False]}


class Story:
    """Writes the log of one run as the driver does, and commits the results that it names."""

    def __init__(self, store: Store, run_id: str, stages: list[Stage], at: float = START, register: str = "") -> None:
        self.store = store
        self.log = EventLog(store.root / "runs" / run_id)
        self.now = at
        recipe = {
            "run": {"name": "tiny", "phases": [{"tokens": 10}, {"tokens": 20}]},
            "fingerprints": {"web": {"a": "b" * 64}},
        }
        provenance = {"git": {"commit": "c" * 40, "dirty": False}}
        planned = [_planned(store, stage) for stage in stages]
        identity = {"run_id": run_id, "name": "tiny", **({"register": register} if register else {})}
        self.tell(event="run_started", **identity, recipe=recipe, stages=planned, provenance=provenance)

    def tell(self, **event: Any) -> None:
        self.now += 1.0
        self.log.append({"time": self.now, **event})

    def begin(self, stage: Stage, attempt: int = 1) -> None:
        self.tell(event="stage_started", **_identity(stage), attempt=attempt, params=dict(stage.params))

    def measure(self, stage: Stage, points: list[tuple[int, dict[str, float]]]) -> None:
        self.tell(event="metrics", stage=stage.id, points=[[step, values] for step, values in points])

    def publish(self, stage: Stage, name: str) -> Path:
        file = self.store.path(stage).with_suffix(".traces") / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("{}")
        self.tell(event="file", stage=stage.id, path=str(file))
        return file

    def commit(self, stage: Stage, metrics: dict[str, float], files: dict[str, str | pa.Table] | None = None) -> None:
        scratch = self.store.scratch(stage)
        for name, content in (files or {"data.txt": "x"}).items():
            (scratch / name).parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, str):
                (scratch / name).write_text(content)
            else:
                pq.write_table(content, scratch / name)
        made = self.store.commit(stage, scratch, metrics=metrics, quarantined=[], seconds=2.0, provenance={}, shards={})
        self.tell(event="stage_finished", **_identity(stage), seconds=2.0, path=str(made.path))

    def reuse(self, stage: Stage) -> None:
        self.tell(event="stage_reused", **_identity(stage), path=str(self.store.path(stage)))

    def end(self, status: str = "finished") -> None:
        self.tell(event="run_finished", status=status, seconds=self.now - START)
        self.log.close()


def _planned(store: Store, stage: Stage) -> dict[str, Any]:
    action, reason = ("reuse", "committed") if store.find(stage) else ("build", "never built in this store")
    inputs = {name: upstream.key for name, upstream in stage.inputs.items()}
    named = {"id": stage.id, "name": stage.name, "subject": stage.subject, "key": stage.key}
    fields = ("model_output", "model_input", "model_key", "step_metric")
    model = {name: getattr(stage, name) for name in fields}
    return {**named, "action": action, "reason": reason, "inputs": inputs, **model}


def _identity(stage: Stage) -> dict[str, str]:
    return {"stage": stage.id, "name": stage.name, "subject": stage.subject, "key": stage.key}


def plain_stage(name: str, subject: str = "", params: dict[str, Any] | None = None, **inputs: Stage) -> Stage:
    return idle_stage(name, subject, params or {}, inputs)


SOURCE = plain_stage("source", "web", {"fraction": 0.5, "inputs": [{"kind": "warc"}]})

TRAIN = replace(plain_stage("train", "1", {"model": {"num_layers": 2}}, mix=SOURCE), model_output="checkpoint")

EVALUATE = replace(plain_stage("evaluate", "1", {}, train=TRAIN), model_input="train")

REPORT = plain_stage("report", "", {}, evaluate=EVALUATE)

CHAIN = [SOURCE, TRAIN, EVALUATE, REPORT]


def tell_whole_run(store: Store, run_id: str = "tiny-1") -> Story:
    story = Story(store, run_id, CHAIN)
    story.begin(SOURCE)
    story.tell(event="warning", stage=SOURCE.id, message="one record was cut short")
    story.commit(SOURCE, {"data/documents": 12.0})
    story.begin(TRAIN)
    story.measure(TRAIN, [(1, {"train/loss": 4.0, "learning_rate": 0.1}), (2, {"train/loss": 3.0})])
    story.measure(TRAIN, [(3, {"train/loss": 2.5})])
    story.publish(TRAIN, "trace-10-13.json.gz")
    story.commit(TRAIN, {"parameters": 1000.0, "loss": 2.4}, {"checkpoint/model.json": "{}"})
    story.begin(EVALUATE)
    story.commit(EVALUATE, {"eval/bits_per_byte/web": 1.5}, {"tables/samples.parquet": pa.table(SAMPLES)})
    story.begin(REPORT)
    story.commit(REPORT, {"pages": 1.0}, {"report.html": "<p>", "figures/loss.png": "png"})
    story.end()
    return story


def tracked_store(root: Path, database: bytes) -> Store:
    store = Store(root).open()
    (store.root / "mlflow.db").write_bytes(database)
    return store
