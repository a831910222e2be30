"""The end of a run: the results of all its stages on one page."""

from collections.abc import Mapping
from functools import partial

from infra.artifact import Artifact
from infra.context import StageContext
from infra.resources import Resources
from infra.stage import Metrics, Stage

PAGE = "report.html"
FIGURES = "figures"


def stage(title: str, stages: Mapping[str, Stage]) -> Stage:
    """Write report.html and figures/*.png about `stages`, all stages of one run by id.

    The page contains seconds and provenance, so two builds of it differ if those do; the figures never do.
    """
    return Stage("report", "", 10, {"title": title}, dict(stages), partial(_report, title), Resources(num_cpus=1))


def _report(title: str, context: StageContext, inputs: Mapping[str, Artifact]) -> Metrics:
    # matplotlib takes a second to import; building a graph must not.
    from pipelines.report import page
    from pipelines.report.figures.draw import CAPTIONS, draw_all
    from pipelines.report.figures.style import figure_style, inline_svg, write_png
    from pipelines.report.summary.run import read_summary

    summary = read_summary(title, inputs)
    folder = context.out / FIGURES
    folder.mkdir()
    svgs = {}
    with figure_style():
        for name, figure in draw_all(summary).items():
            write_png(figure, folder / f"{name}.png")
            svgs[name] = inline_svg(figure, CAPTIONS[name])
    (context.out / PAGE).write_text(page.build(summary, svgs), encoding="utf-8")
    return {"data/documents": sum(corpus.kept.documents for corpus in summary.corpora)}
