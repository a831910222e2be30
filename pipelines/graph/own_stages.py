"""Stages of your own: classes that a recipe names, run after the stages whose results they read.

    [[stages]]
    name = "word_counts"
    kind = "own_stages:WordCounts"      # class WordCounts of own_stages.py, in the recipe's folder
    inputs = ["source[web]", "dedup[web]"]
    min_words = 3                       # a field of the class, which is a data_recipes.Section

The class has a method `work(self, context, inputs)`, which writes files under `context.out` and returns metrics, as
every stage does; `inputs` are artifacts by the ids in the recipe. An attribute `resources` of the type
`infra.Resources` reserves CPUs and GPUs; the default is one CPU.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

from data_recipes.schema import StageSection
from data_recipes.section import RecipeError
from infra.artifact import Artifact
from infra.context import StageContext
from infra.resources import Resources
from infra.stage import Metrics, Stage
from pipelines.extension import Extension, find_all
from pipelines.fit.stages import unknown_inputs


class OwnStage(Protocol):
    """A stage of the user's own."""

    def work(self, context: StageContext, inputs: Mapping[str, Artifact]) -> Metrics:
        """Write files under `context.out`; return metrics. A raised exception fails the stage."""


def own_stages(
    sections: Sequence[StageSection], stages: Mapping[str, Stage], subject: str, folder: Path
) -> dict[str, Stage]:
    """The stages by id that `sections` of a recipe describe; names and inputs have been checked by `pipelines.fit`.

    Args:
        sections: Sections of the recipe; one may read those before it.
        stages: Stages of the chain by id.
        subject: The corpus that the stages are about, "" for a run.
        folder: Folder of the recipe, in which modules are looked for.

    Raises:
        RecipeError: If a class cannot be used; the message starts with the field.
    """
    built: dict[str, Stage] = {}
    extensions = find_all(sections, OwnStage, folder, "stages")
    for number, (section, extension) in enumerate(zip(sections, extensions, strict=True), start=1):
        available = {**stages, **built}
        if mistakes := list(unknown_inputs(number, section, available)):
            raise RecipeError("\n".join(mistakes))
        stage = _stage(section, extension, available, subject)
        built[stage.id] = stage
    return built


def _stage(section: StageSection, extension: Extension, stages: Mapping[str, Stage], subject: str) -> Stage:
    return Stage(
        name=section.name,
        subject=subject,
        params=extension.fingerprint(),
        inputs={stage_id: stages[stage_id] for stage_id in section.inputs},
        work=partial(_work, extension),
        resources=getattr(extension.make(), "resources", Resources(num_cpus=1)),
    )


def _work(extension: Extension, context: StageContext, inputs: Mapping[str, Artifact]) -> Metrics:
    metrics: Metrics = extension.make().work(context, inputs)
    return metrics
