"""The stage: the exported checkpoint, its formats, and the card that its run fills in."""

from collections.abc import Mapping
from dataclasses import asdict
from functools import partial

from arctic_model.export.formats import FORMATS
from data_recipes.schema import ExportSection
from infra.artifact import Artifact
from infra.context import StageContext
from infra.resources import Resources
from infra.stage import Metrics, Stage
from pipelines.artifacts.checkpoint import checkpoint_folder
from pipelines.artifacts.exported import MODEL, write_agreement
from pipelines.export.inputs import ExportInputs

VERSION = 3


def stage(run_name: str, section: ExportSection, inputs: ExportInputs[Stage]) -> Stage:
    """Write the checkpoint of `inputs.train` in the format of `section`, and have the format's engine agree with it."""
    form = FORMATS[section.to]
    return Stage(
        name="export",
        subject=section.name,
        version=VERSION,
        params={"to": section.to, "dtype": form.dtype(section.dtype or None), "run": run_name},
        inputs=inputs.named(),
        work=partial(_work, run_name, section),
        resources=Resources(num_cpus=1),
        packages=form.packages,
        machine_dependent=True,
        model_output=MODEL,
    )


def _work(run_name: str, section: ExportSection, context: StageContext, artifacts: Mapping[str, Artifact]) -> Metrics:
    from arctic_model.export.exporting import export
    from pipelines.export.mlflow_model import write_mlflow_model
    from pipelines.export.model_card import CARD, model_card
    from pipelines.export.run_record import read_run

    inputs: ExportInputs[Artifact] = ExportInputs.of(artifacts)
    form = FORMATS[section.to]
    dtype = form.dtype(section.dtype or None)
    folder = context.out / MODEL
    folder.mkdir()
    agreement = export(checkpoint_folder(inputs.train.path), inputs.tokenizer.path, folder, form, dtype)
    write_agreement(context.out, asdict(agreement))
    card = model_card(read_run(run_name, section.name, inputs), form, dtype, agreement)
    (folder / CARD).write_text(card, encoding="utf-8")
    if section.to == "huggingface":
        write_mlflow_model(context.out, folder, dtype)
    scores = {name: value for name, value in inputs.evaluate.manifest.metrics.items() if name.startswith("eval/")}
    return {f"export/{name}": value for name, value in agreement.metrics().items()} | scores
