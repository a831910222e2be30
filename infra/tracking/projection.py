"""One run's events as MLflow runs, params, metrics, datasets and models.

Everything is looked up by tag before it is created, and times come from the events, so sending an event a second time
changes nothing. Loading this module loads MLflow.
"""

import getpass
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import mlflow.store.tracking.sqlalchemy_store  # noqa: F401  MLflow would import it later, in the tracking thread
from mlflow import MlflowClient
from mlflow.entities import LoggedModelInput, LoggedModelOutput, Metric, Param
from mlflow.entities.lifecycle_stage import LifecycleStage
from mlflow.utils.mlflow_tags import MLFLOW_LOGGED_ARTIFACTS, MLFLOW_PARENT_RUN_ID

from infra.artifact import Manifest
from infra.context import Event
from infra.events import read_events
from infra.store import MANIFEST
from infra.store.store import read_manifest
from infra.tracking.datasets import dataset_input, part_name
from infra.tracking.model_files import log_model_files
from infra.tracking.shapes import (
    batches,
    flatten,
    legal_name,
    outcomes,
    parent_metric,
    plan_table,
    shorten,
    split_table,
)

PARENT = ""
"""Name of the parent among the runs; the others are named by stage id."""
NOT_RECORDED = dict.fromkeys(("model_output", "model_input", "model_key", "step_metric"), "")
"""Of a stage in the log of an older version."""
DATA = "data/"
"""Begins the names of metrics that count data."""
LOSS = "loss"
"""Curve of the whole run that joins those of its phases. MLflow shows metrics without a group before all others."""
STATUS = {"finished": "FINISHED", "failed": "FAILED", "killed": "KILLED"}


class Projection:
    """The run of folder `<store>/runs/<run id>` in the experiment that bears its recipe's name.

    `runs` maps stage ids (and "" for the whole run) to MLflow run ids, `curves` MLflow run ids to the last step of each
    metric; both grow as events are applied, and the caller stores them between processes. `artifact_root` is the folder
    of a new experiment's files, None for the server's choice.
    """

    def __init__(
        self,
        uri: str,
        folder: Path,
        runs: dict[str, str],
        curves: dict[str, dict[str, int]],
        artifact_root: str | None,
    ) -> None:
        self._client = MlflowClient(uri)
        self._folder = folder
        self._runs = runs
        self._curves = curves
        self._started = next(read_events(folder))
        stages = self._started["stages"]
        self._stages = {
            stage["id"]: {**NOT_RECORDED, **stage, "number": number} for number, stage in enumerate(stages, start=1)
        }
        self._ids = {stage["key"]: stage["id"] for stage in stages}
        self._metrics: dict[str, list[Metric]] = {}
        self._builds = not stages or any(stage["action"] == "build" for stage in stages)
        self.experiment_id = _experiment(self._client, self._started["name"], artifact_root)

    def apply(self, event: Event) -> None:
        """Send one event; metrics wait for `flush`. A run that was to build nothing has no row: the runs that built its
        results have theirs."""
        if not self._builds:
            return
        match event["event"]:
            case "run_started":
                self._start_run(event)
            case "stage_started":
                self._start_stage(event)
            case "stage_reused":
                self._reuse_stage(event)
            case "metrics":
                self._log_points(event)
            case "file":
                self._log_file(event)
            case "warning":
                self._tag(event["stage"], f"warning.{_milliseconds(event)}", event["message"])
            case "stage_finished":
                self._finish_stage(event)
            case "stage_failed":
                self._fail_stage(event)
            case "run_finished":
                self._finish_run(event)

    def flush(self) -> None:
        """Send the metrics that wait."""
        for run_id, metrics in self._metrics.items():
            for batch in batches(metrics, 1000):
                self._client.log_batch(run_id, metrics=batch)
        self._metrics.clear()

    def _start_run(self, event: Event) -> None:
        git = event["provenance"].get("git") or {}
        self._runs[PARENT] = self._find_or_create(
            {"arctic.run": event["run_id"], "arctic.kind": "run"},
            {
                "mlflow.source.name": f"arctic run {event['name']}",
                "mlflow.source.type": "LOCAL",
                "mlflow.source.git.commit": git.get("commit", "unknown"),
                "git.dirty": str(git.get("dirty", "unknown")),
                "mlflow.note.content": plan_table(event["stages"], {}),
            },
            self._short_name,
            event,
        )
        # They are digests of inputs, by the hundred: they are in recipe.json.
        recipe = {name: value for name, value in event["recipe"].items() if name != "fingerprints"}
        self._log_params(self._runs[PARENT], recipe)
        self._client.log_dict(self._runs[PARENT], event["recipe"], "recipe.json")
        self._client.log_dict(self._runs[PARENT], event["provenance"], "provenance.json")

    @property
    def _short_name(self) -> str:
        """The part of a name that MLflow's lists show before they cut it off: the recipe, and the random part of each
        run."""
        return f"{self._started['name']}-{self._started['run_id'].rpartition('-')[2]}"

    def _start_stage(self, event: Event) -> None:
        stage = self._stages[event["stage"]]
        self._end_earlier_attempt(event)
        suffix = f" (attempt {event['attempt']})" if event["attempt"] > 1 else ""
        run_id = self._find_or_create(
            {
                "arctic.run": self._started["run_id"],
                "stage.id": stage["id"],
                "stage.attempt": str(event["attempt"]),
            },
            {
                "arctic.kind": "stage",
                MLFLOW_PARENT_RUN_ID: self._runs[PARENT],
                "mlflow.source.name": stage["name"],
                "stage.key": stage["key"],
                "stage.reason": shorten(stage["reason"]),
                "stage.result": f"{stage['id']}@{stage['key']}",
            },
            f"{stage['number']:02d} {stage['name']} {stage['subject']}".strip() + suffix,
            event,
        )
        self._runs[stage["id"]] = run_id
        self._log_params(run_id, event["params"])
        inputs = [
            dataset_input(self._ids[key], key, "input", self._committed(self._stages[self._ids[key]]))
            for key in stage["inputs"].values()
            if key in self._ids
        ]
        model = self._measured_model(stage)
        self._client.log_inputs(run_id, inputs, [LoggedModelInput(model.model_id)] if model else None)

    def _end_earlier_attempt(self, event: Event) -> None:
        earlier = self._runs.get(event["stage"])
        if earlier and self._client.get_run(earlier).data.tags["stage.attempt"] != str(event["attempt"]):
            self._client.set_terminated(earlier, "KILLED", _milliseconds(event))

    def _reuse_stage(self, event: Event) -> None:
        path = self._result(event)
        if path is None:
            return
        manifest = read_manifest(path)
        self._log_on_parent(manifest, path, event)
        if self._has_model(event, path):
            self._ensure_model(manifest, self._runs[PARENT], path)

    def _log_points(self, event: Event) -> None:
        stage = self._stages[event["stage"]]
        targets = [self._runs[stage["id"]]]
        # Phases follow each other, so the parent shows their curves as one.
        if stage["subject"].isdigit():
            targets.append(self._runs[PARENT])
        for run_id in targets:
            curves = self._curves.setdefault(run_id, {})
            for step, values in event["points"]:
                grouped = {name if "/" in name else f"{stage['name']}/{name}": value for name, value in values.items()}
                # A stage that goes on after a kill sends steps again, with the same values.
                new = {name: value for name, value in grouped.items() if step > curves.get(name, step - 1)}
                curves.update(dict.fromkeys(new, step))
                if run_id == self._runs[PARENT] and (loss := new.get(f"{stage['name']}/{LOSS}")) is not None:
                    new[LOSS] = loss
                self._log_metrics(run_id, new, event, step)

    def _log_file(self, event: Event) -> None:
        file = self._in_store(Path(event["path"]), 3)
        if file.is_file():
            self._client.log_artifact(self._runs[event["stage"]], str(file), "files")

    def _finish_stage(self, event: Event) -> None:
        path, run_id = self._result(event), self._runs[event["stage"]]
        if path:
            manifest, stage = read_manifest(path), self._stages[event["stage"]]
            if self._has_model(event, path):
                self._ensure_model(manifest, run_id, path)
            model = self._find_model(manifest.key) or self._measured_model(stage)
            step = _step(manifest, stage, 0)
            self._log_metrics(run_id, manifest.metrics, event, step, model.model_id if model else None)
            if model and stage["model_key"]:
                self._log_metrics(self._run_that_made(model), manifest.metrics, event, step)
            self._log_metrics(run_id, {"seconds": event["seconds"]}, event, 0)
            self._log_on_parent(manifest, path, event)
            self._client.log_inputs(run_id, [dataset_input(manifest.id, manifest.key, "output", path)])
            self._client.log_artifact(run_id, str(path / MANIFEST))
            self._log_tables(run_id, path)
        self.flush()
        self._client.set_terminated(run_id, "FINISHED", _milliseconds(event))

    def _log_tables(self, run_id: str, path: Path) -> None:
        """As `MlflowClient.log_table` does, which would append the rows once more if an event is sent again."""
        tables = {f"tables/{file.stem}.json": file for file in sorted(path.glob("tables/*.parquet"))}
        for name, file in tables.items():
            self._client.log_text(run_id, split_table(file), name)
        if tables:
            logged = [{"path": name, "type": "table"} for name in tables]
            self._client.set_tag(run_id, MLFLOW_LOGGED_ARTIFACTS, json.dumps(logged))

    def _fail_stage(self, event: Event) -> None:
        text = str(event.get("detail", event["error"]))
        run_id = self._runs.get(event["stage"])
        if run_id is None:
            self._client.log_text(self._runs[PARENT], text, f"errors/{event['stage']}.txt")
            return
        self._client.log_text(run_id, text, "error.txt")
        self._client.set_tag(run_id, "mlflow.note.content", shorten(event["error"]))
        self.flush()
        self._client.set_terminated(run_id, "FAILED", _milliseconds(event))

    def _finish_run(self, event: Event) -> None:
        self.flush()
        for child in self._search({"arctic.run": self._started["run_id"], "arctic.kind": "stage"}):
            if child.info.status == "RUNNING":
                self._client.set_terminated(child.info.run_id, "KILLED", _milliseconds(event))
        note = plan_table(self._started["stages"], outcomes(read_events(self._folder)))
        self._client.set_tag(self._runs[PARENT], "mlflow.note.content", note)
        if self._started.get("register") and event["status"] == "finished":
            self._register(self._started["register"])
        self._client.set_terminated(self._runs[PARENT], STATUS[event["status"]], _milliseconds(event))

    def _register(self, name: str) -> None:
        """Make the run's last model a version of the registered model `name`, with the run's own alias."""
        made = [self._find_model(stage["key"]) for stage in self._stages.values() if stage["model_output"]]
        model = next(filter(None, reversed(made)), None)
        if model is None:
            return
        if not self._client.search_registered_models(f"name = '{name}'"):
            self._client.create_registered_model(name)
        versions = self._client.search_model_versions(f"name = '{name}' and tags.`model.id` = '{model.model_id}'")
        version = (
            versions[0].version
            if versions
            else self._client.create_model_version(
                name,
                model.artifact_location,
                model.source_run_id,
                {"model.id": model.model_id, **model.tags},
                model_id=model.model_id,
            ).version
        )
        self._client.set_registered_model_alias(name, self._short_name, version)

    def _result(self, event: Event) -> Path | None:
        """The committed folder; None if it was deleted since."""
        path = self._in_store(Path(event["path"]), 2)
        return path if (path / MANIFEST).is_file() else None

    def _committed(self, stage: Mapping[str, Any]) -> Path | None:
        """The folder of a stage's result; None if there is none."""
        leaf = f"{stage['subject']}-{stage['key']}" if stage["subject"] else stage["key"]
        path = self._folder.parents[1] / "stages" / stage["name"] / leaf
        return path if (path / MANIFEST).is_file() else None

    def _in_store(self, recorded: Path, depth: int) -> Path:
        """A path under the store's stages, by its last `depth` names, for the current location of the store."""
        return self._folder.parents[1].joinpath("stages", *recorded.parts[-depth:])

    def _log_on_parent(self, manifest: Manifest, path: Path, event: Event) -> None:
        """The parent carries the stages' figures, also of reused ones, so that whole runs compare in one table. Counts
        of data are logged only in the stages' own runs if there is a model, whose figures they would hide, and so are
        intervals and counts of items, which have a dot in their names."""
        parent = self._runs[PARENT]
        has_model = any(stage["model_output"] for stage in self._stages.values())
        values = {
            parent_metric(manifest.name, manifest.subject, name): value
            for name, value in manifest.metrics.items()
            if not (has_model and (name.startswith(DATA) or "." in name))
        }
        phase = int(manifest.subject) if manifest.subject.isdigit() else 0
        self._log_metrics(parent, values, event, _step(manifest, self._stages[event["stage"]], phase))
        if (path / "report.html").is_file():
            self._client.log_artifact(parent, str(path / "report.html"))
        for figure in sorted(path.glob("figures/*.png")):
            self._client.log_artifact(parent, str(figure), "figures")

    def _has_model(self, event: Event, path: Path) -> bool:
        folder = self._stages[event["stage"]]["model_output"]
        return bool(folder) and (path / folder).is_dir()

    def _ensure_model(self, manifest: Manifest, source_run: str, path: Path) -> None:
        """Make the model of a committed checkpoint. Its files stay in the store, except those that MLflow can load."""
        model = self._find_model(manifest.key) or self._client.create_logged_model(
            self.experiment_id,
            name=f"{self._short_name}-{part_name(manifest)}",
            source_run_id=source_run,
            tags={"stage.key": manifest.key, "stage.result": f"{manifest.id}@{manifest.key}"},
            params=dict(flatten(manifest.params)),
            model_type="checkpoint",
        )
        log_model_files(self._client, model, manifest, path)
        self._client.finalize_logged_model(model.model_id, "READY")
        for run_id in dict.fromkeys([source_run, self._runs[PARENT]]):
            outputs = self._client.get_run(run_id).outputs
            if outputs is None or model.model_id not in [output.model_id for output in outputs.model_outputs]:
                self._client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])

    def _measured_model(self, stage: Mapping[str, Any]) -> Any:
        return self._find_model(stage["model_key"] or stage["inputs"].get(stage["model_input"]))

    def _run_that_made(self, model: Any) -> str:
        """The whole run, of which the stage that made the model is a part."""
        source = self._client.get_run(model.source_run_id)
        return str(source.data.tags.get(MLFLOW_PARENT_RUN_ID, source.info.run_id))

    def _find_model(self, key: str | None) -> Any:
        if key is None:
            return None
        models = self._client.search_logged_models([self.experiment_id], f"tags.`stage.key` = '{key}'")
        return models[0] if models else None

    def _find_or_create(self, identity: Mapping[str, str], tags: Mapping[str, str], name: str, event: Event) -> str:
        """The MLflow run with the tags of `identity`: one made before a crash is reused."""
        runs = self._search(identity)
        if runs:
            return str(runs[0].info.run_id)
        tags = {"mlflow.user": _user_name(), **identity, **tags}
        return str(self._client.create_run(self.experiment_id, _milliseconds(event), tags, name).info.run_id)

    def _search(self, tags: Mapping[str, str]) -> Sequence[Any]:
        query = " and ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
        return self._client.search_runs([self.experiment_id], query)

    def _tag(self, stage: str, name: str, value: str) -> None:
        self._client.set_tag(self._runs.get(stage, self._runs[PARENT]), name, shorten(value))

    def _log_params(self, run_id: str, params: Mapping[str, Any]) -> None:
        for batch in batches([Param(name, value) for name, value in flatten(params)], 100):
            self._client.log_batch(run_id, params=batch)

    def _log_metrics(
        self, run_id: str, values: Mapping[str, float], event: Event, step: int, model_id: str | None = None
    ) -> None:
        waiting = self._metrics.setdefault(run_id, [])
        for name, value in values.items():
            waiting.append(
                Metric(legal_name(name), value, _milliseconds(event), step, model_id=model_id, run_id=run_id)
            )


def _experiment(client: MlflowClient, name: str, artifact_root: str | None) -> str:
    experiment = client.get_experiment_by_name(name)
    if experiment:
        # MLflow keeps a deleted experiment's name taken. It shows the contents of the store, so it is restored.
        if experiment.lifecycle_stage == LifecycleStage.DELETED:
            client.restore_experiment(experiment.experiment_id)
        return str(experiment.experiment_id)
    location = f"{artifact_root}/{quote(name)}" if artifact_root else None
    return str(client.create_experiment(name, location, {"mlflow.experimentKind": "custom_model_development"}))


def _user_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid-{os.getuid()}"


def _step(manifest: Manifest, stage: Mapping[str, Any], otherwise: int) -> int:
    """The step of a result's metrics, by the metric that the stage names for it."""
    return int(manifest.metrics.get(stage["step_metric"], otherwise))


def _milliseconds(event: Event) -> int:
    return int(event["time"] * 1000)
