"""The curve within a phase: an evaluation of weights that a training keeps, while it goes on."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from arctic_model.checkpoint.model_folder import checkpoint_name
from data_recipes import RunRecipe
from data_recipes.steering import Segment
from infra.stage import Early, Stage
from pipelines import evaluate

MEND = (
    "Its weights were not kept: set evaluate.every_tokens = 0, or remove the result of the phase, to train it again "
    "with train.keep_weights_every_steps."
)


def curve_stages(
    run: RunRecipe, number: int, folder: Path, inputs: evaluate.PhaseInputs[Stage], settings: Sequence[Segment]
) -> list[Stage]:
    """The evaluations within phase `number`, whose checkpoint `inputs` name, with the segments `settings`.

    An amendment leaves the earlier weights unchanged, and the result that the phase has without it.
    """
    trained = inputs.train
    # Keys of the results that the training continues from, those with the most amendments first.
    before = dict(zip(trained.continues, range(len(settings) - 1, 0, -1), strict=True))
    stages = []
    for step in steps_to_measure(settings, run.sequence_lengths[number - 1], run.evaluate.every_tokens):
        keys = [trained.key, *(key for key, count in before.items() if step <= settings[count].first_step)]
        leaves = tuple(f"{number}-{key}.weights/{checkpoint_name(step)}" for key in keys)
        early = Early("train", leaves, MEND)
        asked = replace(inputs, previous=None)
        phase = f"{run.phases[number - 1].name}, step {step}"
        stages.append(evaluate.stage(f"{number}.{step}", phase, run.evaluate, folder, asked, early))
    return stages


def steps_to_measure(segments: Sequence[Segment], sequence_length: int, every_tokens: int) -> Iterator[int]:
    """Steps within a phase whose weights are saved, one for each `every_tokens` tokens since the run's start.

    Args:
        segments: Those of the phase.
        sequence_length: Tokens per sequence.
        every_tokens: Tokens between two measurements; 0 measures nothing. Weights that are saved at longer intervals
            are each measured.
    """
    every_steps = segments[0].train.keep_weights_every_steps
    if not (every_tokens and every_steps):
        return
    measured = segments[0].first_tokens // every_tokens
    for segment in segments:
        first = (segment.first_step // every_steps + 1) * every_steps
        for step in range(first, min(segment.last_step + 1, segments[-1].last_step), every_steps):
            tokens = segment.first_tokens + replace(segment, last_step=step).tokens(sequence_length)
            if tokens // every_tokens > measured:
                measured = tokens // every_tokens
                yield step
