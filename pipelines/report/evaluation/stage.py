"""The stage that writes the page about checkpoints that were evaluated and compared."""

from collections.abc import Mapping
from functools import partial

from infra.artifact import Artifact
from infra.context import StageContext
from infra.resources import Resources
from infra.stage import Metrics, Stage
from pipelines.report.evaluation.evaluations import PageInputs, read_evaluations

PAGE = "report.html"
FIGURES = "figures"


def stage(title: str, compare: Stage, evaluations: Mapping[str, Stage]) -> Stage:
    """Write report.html and figures/*.png about `evaluations` and the result of `compare`."""
    inputs = PageInputs(compare, evaluations).named()
    return Stage(
        "evaluation_page", "", 6, {"title": title}, inputs, partial(_write, title), Resources(num_cpus=1), inline=True
    )


def _write(title: str, context: StageContext, artifacts: Mapping[str, Artifact]) -> Metrics:
    # matplotlib takes a second to import; building a graph must not.
    from pipelines.report.evaluation import page
    from pipelines.report.evaluation.curves import draw_curves
    from pipelines.report.figures.style import figure_style, inline_svg, write_png

    read = read_evaluations(PageInputs.of(artifacts))
    folder = context.out / FIGURES
    folder.mkdir()
    svgs = {}
    with figure_style():
        for name, drawn in draw_curves(read.scores).items():
            write_png(drawn, folder / f"{name}.png")
            svgs[name] = inline_svg(drawn, page.CAPTIONS[name])
    (context.out / PAGE).write_text(page.build(title, read, svgs), encoding="utf-8")
    return {"checkpoints": len(read.scores)}
