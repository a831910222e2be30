"""lm-evaluation-harness' own evaluator, as the oracle of tasks that we take from it."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest


def evaluated(
    include: Path,
    names: Sequence[str],
    likelihood: Callable[[str, str], tuple[float, bool]],
    written: Callable[[str], str],
    num_fewshot: int | None = None,
) -> Mapping[str, list[dict[str, Any]]]:
    """Samples of each of the tasks `names` in the folder `include`, asked of a model that answers by two functions."""
    import lm_eval
    from lm_eval.api.model import LM
    from lm_eval.tasks import TaskManager

    class Opinionated(LM):
        def loglikelihood(self, requests: list[Any]) -> list[tuple[float, bool]]:
            return [likelihood(*request.args) for request in requests]

        def loglikelihood_rolling(self, requests: list[Any]) -> list[float]:
            raise NotImplementedError

        def generate_until(self, requests: list[Any]) -> list[str]:
            return [written(request.args[0]) for request in requests]

    manager = TaskManager(include_path=str(include), include_defaults=False)
    with pytest.MonkeyPatch.context() as patch:
        # Pages may name files in their folder.
        patch.chdir(include)
        # It asks compilers and pip for their versions, which takes longer than all the rest.
        patch.setattr("lm_eval.evaluator.add_env_info", lambda results: None)
        results = lm_eval.simple_evaluate(
            Opinionated(), tasks=list(names), task_manager=manager, num_fewshot=num_fewshot, bootstrap_iters=0
        )
    samples: Mapping[str, list[dict[str, Any]]] = results["samples"]
    return samples
