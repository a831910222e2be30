"""The scores of a phase as the page shows them."""

from types import SimpleNamespace

from pipelines.artifacts.checkpoint import WorkerHours
from pipelines.artifacts.evaluation import Difference, Score, Scores
from pipelines.report.sections.models.scores import scores_section


def test_each_kind_of_measure_is_written_on_its_scale_and_stands_beside_its_notes_and_protocol() -> None:
    scores = Scores(
        "code",
        7,
        7168,
        {"bits_per_byte/web": Score(1.2344, 9, 1.2, 1.3), "piqa/acc": Score(0.62, 1838, 0.6, 0.64, 0.5)},
        protocols={"piqa": "0-shot, without a <chat> template"},
        notes={"piqa": "2 of 1,838 questions were longer than the model has positions"},
    )
    changes = {
        "bits_per_byte/web": Difference(-0.01, -0.02, 0.0, 0.2, None, 9),
        "piqa/acc": Difference(0.031, 0.01, 0.05, 0.001, 0.002, 1838),
    }
    phase = SimpleNamespace(
        number=1, scores=scores, differences=changes, hours=WorkerHours(1.5, 0.25, 0.125), cost=1234.5
    )
    page = scores_section(SimpleNamespace(phases=[phase], measures=list(scores.scores)), [])  # type: ignore[arg-type]
    for shown in (
        'worker hours of training</td><td role="cell" data-label="1 code" class="number">1.5<',
        'of these: lost steps, trained again</td><td role="cell" data-label="1 code" class="number">0.25<',
        'of these: start-up, checkpoints, waiting</td><td role="cell" data-label="1 code" class="number">0.125<',
        'cost of training</td><td role="cell" data-label="1 code" class="number">1,234.50',
        "<b>1.234</b><small>1.200 to 1.300, n = 9</small><small>-0.010: noise (p = 0.2)</small>",
        "<b>0.620</b><small>0.600 to 0.640, n = 1,838</small><small>above chance (0.500), centred 0.240</small>"
        "<small>+0.031: more than noise (p = 0.001)</small>",
        "2 of 1,838 questions were longer than the model has positions",
        "0-shot, without a &lt;chat&gt; template",
    ):
        assert shown in page
