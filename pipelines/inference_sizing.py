"""Estimate the needs of decoding with a model on a number of GPUs, before you rent one.

Example:
    >>> from pipelines.inference_sizing import InferenceOptions, estimate_inference
    >>> size = estimate_inference("arctic-480b", InferenceOptions(num_gpus=8, weights="fp8"))
    >>> size.inference.max_sequences > 0, 1 / size.inference.step_s(1) > 70
    (True, True)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from arctic_model.config import ArcticConfig, ConfigError
from arctic_model.presets import PRESETS
from arctic_model.sizing.inference import Inference
from arctic_model.sizing.step_time import GPUS
from pipelines.errors import OptionError
from pipelines.fit.configs import model_config
from pipelines.sizing import preset_to_size, run_to_size


@dataclass(frozen=True)
class InferenceOptions:
    """Numbers to estimate with; None for the price of `arctic_model.sizing.step_time.GPUS`, and for the context all
    positions of the model."""

    gpu: str = "h100"
    num_gpus: int = 1
    weights: Literal["bfloat16", "fp8"] = "bfloat16"
    context: int | None = None
    mfu: float = 0.4
    price_per_hour: float | None = None


@dataclass(frozen=True)
class InferenceEstimate:
    """The estimate for the model called `name`, with the options' MFU and the price of a GPU-hour in USD."""

    name: str
    options: InferenceOptions
    inference: Inference
    price_per_hour: float

    def price_per_million(self, batch: int) -> float:
        """USD for a million tokens of answers, if `batch` of them always grow."""
        seconds = 1e6 / batch * self.inference.step_s(batch, self.options.mfu)
        return seconds / 3600 * self.inference.num_gpus * self.price_per_hour


def estimate_inference(
    target: Path | str, options: InferenceOptions, overrides: Sequence[str] = ()
) -> InferenceEstimate:
    """Estimate memory, cache and speed of decoding with the model of the run recipe at `target`, or the preset of that
    name.

    Raises OptionError for numbers that no engine can run, RecipeError if the recipe cannot work.
    """
    if options.gpu not in GPUS:
        raise OptionError(f"--gpu {options.gpu!r}: no such GPU. There are {', '.join(GPUS)}.")
    if not 0 < options.mfu <= 1:
        raise OptionError(f"--mfu {options.mfu:g}: must be above 0 and at most 1. Change the value.")
    gpu = GPUS[options.gpu]
    name, config = _model(target, overrides)
    try:
        inference = Inference(config, gpu, options.num_gpus, options.weights, options.context or config.max_positions)
    except ConfigError as error:
        raise OptionError(f"{target}: {error}") from None
    price = gpu.price_per_hour if options.price_per_hour is None else options.price_per_hour
    return InferenceEstimate(name, options, inference, price)


def _model(target: Path | str, overrides: Sequence[str]) -> tuple[str, ArcticConfig]:
    if str(target) in PRESETS:
        return str(target), preset_to_size(str(target), overrides)
    run = run_to_size(Path(target), overrides)
    return run.model.preset, model_config(run)
