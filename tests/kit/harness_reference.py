"""lm-evaluation-harness' own evaluator, as the oracle of tasks that we take from it."""

import importlib.util
import sys
import types
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
    system: str | None = None,
    template: Callable[[Sequence[Mapping[str, str]], bool], str] | None = None,
) -> Mapping[str, list[dict[str, Any]]]:
    """Samples of each of the tasks `names` in the folder `include`, asked of a model that answers by two functions; in
    the chat with a `system` prompt if it has a `template`, of messages and whether an answer begins behind them."""
    import lm_eval
    from lm_eval.api.model import LM
    from lm_eval.tasks import TaskManager

    class Opinionated(LM):
        tokenizer_name = "toy"

        def chat_template(self, chat_template: bool | str = False) -> str:
            return "a template"

        def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
            assert template
            return template(chat_history, add_generation_prompt)

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
            Opinionated(),
            tasks=list(names),
            task_manager=manager,
            num_fewshot=num_fewshot,
            bootstrap_iters=0,
            system_instruction=system,
            apply_chat_template=template is not None,
            fewshot_as_multiturn=template is not None,
        )
    samples: Mapping[str, list[dict[str, Any]]] = results["samples"]
    return samples


def huggingface_class() -> Any:
    """The harness' class for models of `transformers`. Its imports of accelerate place models on GPUs, and a model that
    is given needs none of it."""
    if "accelerate" not in sys.modules and importlib.util.find_spec("accelerate") is None:
        stand_in: Any = types.ModuleType("accelerate")
        stand_in.Accelerator = stand_in.InitProcessGroupKwargs = stand_in.find_executable_batch_size = object
        stand_in.utils = types.ModuleType("accelerate.utils")
        stand_in.utils.get_max_memory = object
        sys.modules |= {"accelerate": stand_in, "accelerate.utils": stand_in.utils}
    from lm_eval.models.huggingface import HFLM

    return HFLM


def harness_model(tokenizer: Any) -> Any:
    """The harness' model of `transformers` with a tokenizer and without weights: it renders and encodes, no more."""
    kind = huggingface_class()
    model = kind.__new__(kind)
    model.tokenizer, model.chat_template_args, model.add_bos_token = tokenizer, {}, None
    model.custom_prefix_token_id = None
    tokenizer.pad_token = tokenizer.eos_token
    return model
