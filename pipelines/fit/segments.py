"""Where a recipe sets each field of training, for every segment of a run."""

from collections.abc import Iterator, Mapping

from data_recipes import RunRecipe
from data_recipes.sections.training import TrainSection


def placed_segments(run: RunRecipe) -> Iterator[tuple[int, TrainSection, Mapping[str, str]]]:
    """For each segment: the number of its phase, its settings, and by field the prefix under which the recipe sets it,
    such as `phases.2.train.`."""
    of_train = dict.fromkeys(TrainSection.model_fields, "train.")
    amended: dict[str, str] = {}
    for number, (phase, segments) in enumerate(zip(run.phases, run.segments, strict=True), start=1):
        own = amended | dict.fromkeys(phase.train, f"phases.{number}.train.")
        for segment in segments:
            for index, amendment in enumerate(run.amendments, start=1):
                if segments[0].first_step <= amendment.from_step <= segment.first_step:
                    changed = dict.fromkeys(amendment.train, f"amendments.{index}.train.")
                    amended, own = amended | changed, own | changed
            yield number, segment.train, of_train | own
