"""The records of a stage's context: warnings of every worker and attempt, and the build's measurements of itself."""

from pathlib import Path

from infra import Stage, run
from infra.context import StageContext
from infra.stage import Metrics


def context(folder: Path) -> StageContext:
    return StageContext("train[1]", folder / "out", folder / "state", [].append)


def test_warnings_of_other_workers_and_earlier_attempts_are_kept_once(tmp_path: Path) -> None:
    context(tmp_path).warn("layer 2: an expert starves")
    context(tmp_path).warn("layer 2: an expert starves")
    later = context(tmp_path)
    later.warn("a line\nbreak")
    assert later.warnings == ["layer 2: an expert starves", "a line\nbreak"]


def test_a_warning_that_a_kill_cut_short_is_left_out(tmp_path: Path) -> None:
    first = context(tmp_path)
    first.warn("whole")
    with (tmp_path / "state" / "warnings.jsonl").open("a") as file:
        file.write('"hal')
    assert first.warnings == ["whole"]


def test_a_result_keeps_its_warnings_and_measurements_outside_of_its_files(tmp_path: Path) -> None:
    def work(context: StageContext, inputs: object) -> Metrics:
        context.warn("few pages")
        context.measure("pages_per_s", [(1, 2.5)])
        return {}

    result = run([Stage("pages", work=work)], tmp_path).stages["pages"]
    assert result.artifact is not None
    manifest = result.artifact.manifest
    assert manifest.files == ()
    assert manifest.provenance["warnings"] == ["few pages"]
    assert [list(pair) for pair in manifest.provenance["measured"]["pages_per_s"]] == [[1, 2.5]]
