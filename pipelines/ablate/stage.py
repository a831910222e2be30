"""The stage `ablate`: fit the candidates' scores and choose the mixture of one phase.

ablation.json             Ablation
candidates.parquet        one row a candidate: weight of each corpus, each measured score, the objective
figures/ablation.png      predicted against measured, and the best mixture next to the recipe's
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from infra.artifact import Artifact
from infra.context import StageContext
from infra.inputs import Inputs, Node
from infra.resources import Resources
from infra.stage import Metrics, Stage
from infra.store.integrity import read_committed
from pipelines.ablate.mixtures import corpora_of
from pipelines.ablate.regression import Regression, best_mixture, regress
from pipelines.artifacts.evaluation import DIFFERENCES, Scores, read_differences
from pipelines.artifacts.formats.parquet import write_table

RESULT = "ablation.json"
MEASURE = "bits_per_byte/"
TRUSTED_CORRELATION = 0.5
"""Rank correlation below which the best predicted mixture is called a guess."""


@dataclass(frozen=True)
class Ablation:
    """`aim`: corpora whose mean bits per byte are the objective; `measured`: the objective of the recipe's own mixture
    and of the best candidate; `predicted`: of `best`, by `method`; `rank_correlations`: Spearman's, by method, between
    measured and predicted objective in leave-one-out validation; `gain`: value, low and high of the 95 % interval of
    the best measured objective minus the recipe's on the same documents, None if the recipe's own is the best or there
    are too few documents."""

    phase: int
    aim: Sequence[str]
    method: str
    rank_correlations: Mapping[str, float]
    recipe: Mapping[str, float]
    best: Mapping[str, float]
    measured_recipe: float
    measured_best: float
    predicted_best: float
    gain: tuple[float, float, float] | None = None

    @property
    def is_better(self) -> bool:
        """Whether the best tried mixture is better than the recipe's by more than the choice of documents explains."""
        return self.gain is not None and self.gain[2] < 0

    @classmethod
    def read(cls, folder: Path) -> "Ablation":
        fields = json.loads(read_committed(folder / RESULT))
        return cls(**fields | {"gain": tuple(fields["gain"]) if fields["gain"] else None})


@dataclass(frozen=True)
class AblateInputs(Inputs[Node]):
    """The evaluations of all candidates by their numbers."""

    evaluate: Mapping[str, Node]


def stage(
    number: int,
    mixtures: Sequence[Mapping[str, float]],
    seed: int,
    evaluations: Sequence[Stage],
    aim: Sequence[str] = (),
) -> Stage:
    """The best mixture of phase `number` by the scores of `mixtures`, the recipe's own first; `evaluations` are theirs
    in the same order, each compared with the first. `aim`: corpora whose bits per byte are to fall; none for all."""
    params = {"phase": number, "mixtures": [dict(mixture) for mixture in mixtures], "seed": seed, "aim": list(aim)}
    inputs = AblateInputs({f"{index:03d}": evaluation for index, evaluation in enumerate(evaluations)}).named()
    work = partial(_ablate, number, mixtures, seed, aim)
    return Stage("ablate", str(number), 4, params, inputs, work, Resources(num_cpus=1), machine_dependent=True)


def _ablate(
    number: int,
    mixtures: Sequence[Mapping[str, float]],
    seed: int,
    aim: Sequence[str],
    context: StageContext,
    inputs: Mapping[str, Artifact],
) -> Metrics:
    from pipelines.ablate.figure import draw

    names, _ = corpora_of(mixtures[0])
    table = np.array([[mixture[name] for name in names] for mixture in mixtures])
    evaluations = [evaluation.path for _, evaluation in sorted(AblateInputs.of(inputs).evaluate.items())]
    measures, scores = _scores(evaluations)
    aims = [name for name in measures if not aim or name.removeprefix(MEASURE) in aim]
    weights = np.array([name in aims for name in measures]) / len(aims)
    regressions = regress(table, scores, weights)
    objective = scores @ weights
    predicted = best_mixture(mixtures[0], regressions[0], weights, seed)
    best = dict(mixtures[int(objective.argmin())]) if predicted is None else predicted
    _write_candidates(names, table, measures, scores, objective, context.out)
    gain = _gain(evaluations[int(objective.argmin())], aims)
    ablation = replace(_ablation(number, mixtures[0], best, objective, regressions, weights), gain=gain)
    ablation = replace(ablation, aim=[name.removeprefix(MEASURE) for name in aims])
    if predicted is None:
        context.warn(
            f"after {len(mixtures)} candidates the regression predicts the same for every mixture, so the best one of "
            "them is written. Try more candidates, or longer runs."
        )
    if not ablation.is_better:
        context.warn(
            "no mixture that was tried is better than the recipe's own by more than the choice of held-out documents "
            "explains. Raise evaluate.heldout_bytes_per_corpus, or train longer, before you take another."
        )
    reached = regressions[0].rank_correlation
    if predicted is not None and reached < TRUSTED_CORRELATION:
        context.warn(
            f"the better regression ranks held-out mixtures with a correlation of {reached:.2f}, so its best mixture "
            "is a guess. Try more candidates, or longer runs."
        )
    (context.out / RESULT).write_text(json.dumps(asdict(ablation), indent=1, sort_keys=True), encoding="utf-8")
    (context.out / "figures").mkdir()
    figure = draw(objective, regressions, weights, ablation.recipe, best)
    figure.savefig(context.out / "figures" / "ablation.png", dpi=150, metadata={"Software": None})
    return _metrics(ablation)


def _scores(evaluations: Sequence[Path]) -> tuple[list[str], np.ndarray]:
    """Names of the bits per byte, and float64 [candidates, measures]."""
    all_scores = [Scores.read(path).scores for path in evaluations]
    measures = [name for name in all_scores[0] if name.startswith(MEASURE)]
    return measures, np.array([[scores[name].value for name in measures] for scores in all_scores])


def _gain(evaluation: Path, measures: Sequence[str]) -> tuple[float, float, float] | None:
    """Mean change of the measures since the recipe's own mixture, with its 95 % interval; corpora are independent."""
    changes = read_differences(evaluation) if (evaluation / DIFFERENCES).is_file() else {}
    measured = [changes[name] for name in measures if name in changes]
    halves = [change.high - change.value for change in measured if change.high is not None]
    if len(halves) < len(measures):
        return None
    value = math.fsum(change.value for change in measured) / len(measures)
    half = math.hypot(*halves) / len(measures)
    return value, value - half, value + half


def _write_candidates(
    names: Sequence[str],
    table: np.ndarray,
    measures: Sequence[str],
    scores: np.ndarray,
    objective: np.ndarray,
    out: Path,
) -> None:
    columns: dict[str, Any] = {f"weight/{name}": table[:, column] for column, name in enumerate(names)}
    columns |= {name: scores[:, column] for column, name in enumerate(measures)}
    write_table(pa.table({**columns, "objective": objective}), out / "candidates.parquet")


def _ablation(
    number: int,
    own: Mapping[str, float],
    best: Mapping[str, float],
    objective: np.ndarray,
    regressions: Sequence[Regression],
    weights: np.ndarray,
) -> Ablation:
    best_regression = regressions[0]
    return Ablation(
        phase=number,
        aim=(),
        method=best_regression.method,
        rank_correlations={regression.method: regression.rank_correlation for regression in regressions},
        recipe=dict(own),
        best=best,
        measured_recipe=float(objective[0]),
        measured_best=float(objective.min()),
        predicted_best=float((best_regression.predict(np.array([list(best.values())])) @ weights)[0]),
    )


def _metrics(ablation: Ablation) -> Metrics:
    metrics = {
        "ablate/measured_recipe": ablation.measured_recipe,
        "ablate/measured_best": ablation.measured_best,
        "ablate/predicted_best": ablation.predicted_best,
    }
    if ablation.gain:
        names = ("", ".ci_low", ".ci_high")
        metrics |= {f"ablate/gain{name}": value for name, value in zip(names, ablation.gain, strict=True)}
    for method, correlation in ablation.rank_correlations.items():
        metrics[f"ablate/rank_correlation_{method.replace(' ', '_')}"] = correlation
    return metrics
