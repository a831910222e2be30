"""Scores in MLflow: every number that people need, under a name that MLflow takes as it is."""

from pathlib import Path

import pytest

from infra.events import EventLog
from infra.store import Store
from infra.tracking import catch_up, tracking_uri
from infra.tracking.shapes import legal_name
from pipelines.artifacts.evaluation import Score
from pipelines.evaluate.measuring import metrics_of
from pipelines.evaluate.notes import Flaws
from pipelines.evaluate.suites import Suite
from pipelines.evaluate.tasks import built_in
from tests.kit.stages import idle_stage

MEASURED = {
    "humaneval_plus/pass@1": Score(0.25, 164, 0.2, 0.3, 0.0),
    "mbpp_plus-v0.1.0-base-20_samples/pass@10_base": Score(0.5, 399, 0.4, 0.6),
    "gsm8k/exact_match/strict-match": Score(0.1, 1319, 0.0, 0.2, 0.0),
    "spider/execution_accuracy/extra hard/clean": Score(0.3, 166, 0.2, 0.4, 0.0),
    "piqa/acc_norm": Score(0.62, 1838, 0.6, 0.64, 0.5),
    "bits_per_byte/python_docs": Score(1.5, 31, 1.4, 1.6),
    "enterprise_intelligence": Score(0.2, 2117, 0.1, 0.3),
}
FLAWS = {"humaneval_plus": Flaws(164, 2, 1)}
METRICS = metrics_of(MEASURED, FLAWS)


def test_each_score_has_its_interval_its_n_and_where_it_knows_guessing_how_far_above_it_is() -> None:
    named = {name.replace("@", "_at_"): score for name, score in MEASURED.items()}
    for name, score in named.items():
        result = [METRICS[f"eval/{name}{part}"] for part in ("", ".ci_low", ".ci_high", ".n")]
        assert result == [score.value, score.low, score.high, score.n]
    assert METRICS["eval/piqa/acc_norm.chance"] == 0.5
    assert METRICS["eval/piqa/acc_norm.centred"] == pytest.approx(0.24)
    assert METRICS["eval/humaneval_plus/num_truncated"] == 2
    assert METRICS["eval/humaneval_plus/num_undecodable"] == 1
    assert METRICS["eval/humaneval_plus/num_encoded_alone"] == METRICS["eval/humaneval_plus/num_left_out"] == 0
    assert METRICS["eval/humaneval_plus/num_shortened"] == 0
    assert len(METRICS) == 4 * len(MEASURED) + 2 + 5


def test_no_name_has_to_be_changed_for_mlflow() -> None:
    headlines = {f"{task.name}/{task.headline}" for task in Suite(tuple(built_in())).build(chat=True)}
    assert any("@" in name for name in headlines)
    for name in metrics_of(MEASURED | dict.fromkeys(headlines, Score(0.0, 1, 0.0, 0.0)), FLAWS):
        assert legal_name(name) == name


@pytest.mark.slow
def test_mlflow_gives_back_every_number_under_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow import MlflowClient

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    store = Store(tmp_path / "store").open()
    phase, alone = (idle_stage("evaluate", subject) for subject in ("3", "mine"))
    log = EventLog(store.root / "runs" / "scored-1")
    planned = [
        {"id": stage.id, "name": stage.name, "subject": stage.subject, "key": stage.key, "action": "build"}
        | {"reason": "never built", "inputs": {}}
        for stage in (phase, alone)
    ]
    started = {"event": "run_started", "run_id": "scored-1", "name": "scored", "recipe": {}, "provenance": {}}
    log.append({"time": 1.0, **started, "stages": planned})
    for stage in (phase, alone):
        identity = {"stage": stage.id, "name": stage.name, "subject": stage.subject, "key": stage.key}
        log.append({"time": 2.0, "event": "stage_started", **identity, "attempt": 1, "params": {}})
        made = store.commit(
            stage, store.scratch(stage), metrics=METRICS, quarantined=[], seconds=1.0, provenance={}, shards={}
        )
        log.append({"time": 3.0, "event": "stage_finished", **identity, "seconds": 1.0, "path": str(made.path)})
    log.append({"time": 4.0, "event": "run_finished", "status": "finished", "seconds": 3.0})
    log.close()
    catch_up(store.root)

    client = MlflowClient(tracking_uri(store.root))
    experiment = client.get_experiment_by_name("scored")
    runs = {run.info.run_name: run.data.metrics for run in client.search_runs([experiment.experiment_id])}
    for child in ("01 evaluate 3", "02 evaluate mine"):
        assert {name: value for name, value in runs[child].items() if name != "seconds"} == METRICS
    whole = runs["scored-1"]
    for name, value in METRICS.items():
        assert whole[name] == value
        assert whole[f"evaluate/mine.{name.removeprefix('eval/')}"] == value
