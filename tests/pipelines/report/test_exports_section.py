"""The page lists each export with a link to its folder and the figures of its validation."""

import re
from dataclasses import replace
from pathlib import Path

from infra.artifact import Artifact
from pipelines.artifacts.exported import write_agreement
from pipelines.report.sections.models.exports import exports_section
from pipelines.report.summary.exports import read_exports
from tests.kit.stages import committed

AGREEMENT = {
    "engine": "transformers 5.<x>",
    "tokens": 1234,
    "max_difference": 4.2e-7,
    "argmax_share": 0.9988,
    "mean_kl": 3.1e-4,
}


def exported(folder: Path) -> Artifact:
    folder.mkdir(parents=True)
    write_agreement(folder, AGREEMENT)
    artifact = committed(folder)
    params = {"to": "huggingface", "dtype": "float32", "run": "quickstart"}
    return replace(artifact, manifest=replace(artifact.manifest, params=params, inputs={"train": "abc"}))


def test_a_row_links_to_the_model_and_shows_how_its_engine_agrees(tmp_path: Path) -> None:
    artifact = exported(tmp_path / "stages" / "export" / "hf-0123")
    page = tmp_path / "stages" / "report" / "4567"
    (artifact.path / "model").mkdir()
    page.mkdir(parents=True)
    html = exports_section(read_exports({"hf": artifact}, {"abc": "train[3]"}))
    [link] = re.findall('href="([^"]+)"', html)
    assert (page / link).resolve() == artifact.path / "model"
    for shown in ("train[3]", "huggingface, float32", "transformers 5.&lt;x&gt;", "4e-07", "99.88% of 1,234", "0.0003"):
        assert shown in html


def test_a_run_without_exports_says_so() -> None:
    assert "exports no checkpoint" in exports_section([])
