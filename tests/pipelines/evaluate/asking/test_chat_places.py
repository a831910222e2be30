"""A task whose conversations the chat template has no place for costs that task alone, before anything is asked."""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from infra.context import StageContext
from pipelines.artifacts.evaluation import Scores
from pipelines.evaluate import measuring
from pipelines.evaluate.asking import respondents
from pipelines.evaluate.asking.respondents import CheckpointRespondent
from pipelines.evaluate.engine.execution import Execution
from pipelines.evaluate.engine.requests import Answer, Generation
from pipelines.evaluate.suites import Suite
from pipelines.evaluate.task import Item, Share, Verdict
from pipelines.evaluate.tasks.harness.named import HarnessOptions
from pipelines.models.source import ModelSource
from tests.kit.optional import needs

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
REFUSING = "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}" + CHATML
LEAVING_OUT = CHATML.replace("in messages", "in messages if m.role != 'system'")
SINGLE = "{% if messages | length > 1 %}{{ raise_exception('Only one turn') }}{% endif %}" + CHATML
LAST = CHATML.replace("in messages", "in messages[-1:]")
TURNS = {
    "plain": (),
    "described": (("system", "Rivers."),),
    "shots": (("user", "Which?"), ("assistant", "This.")),
    "both": (("system", "Rivers."), ("user", "Which?"), ("assistant", "This.")),
}
SYSTEM_WORDS = "has no place for a system prompt. Leave that out, or ask with --chat never"
ORDER_WORDS = "has no place for turns of user, assistant, user. Leave"


@dataclass(frozen=True)
class Asked:
    """A task whose questions have these turns before them; one in the chat, and one outside of it."""

    name: str
    headline: str = "length"
    protocol: str = "toy"
    files: tuple[str, ...] = ()
    runs: str = ""
    packages: tuple[str, ...] = ()

    def items(self) -> list[Item]:
        message = Generation("Name one.", (), 2, form="message", turns=TURNS[self.name])
        return [Item("1", (message,), "text"), Item("2", (Generation("A river is", (), 2),), "text")]

    def score(self, items: Sequence[Item], answers: Sequence[Sequence[Answer]]) -> list[Verdict]:
        return [Verdict({"length": Share(1.0, 1.0)}, "", "correct") for _ in zip(items, answers, strict=True)]


Measure = Callable[..., tuple[Scores, list[str]]]


@pytest.fixture
def measure(our_model: ModelSource, tmp_path: Path) -> Measure:
    """Scores and warnings of tasks, asked of a model with a chat template."""

    def measure(template: str, tasks: Sequence[Any], system: str = "") -> tuple[Scores, list[str]]:
        folder, out = tmp_path / "tokenizer", tmp_path / "out"
        shutil.copytree(our_model.tokenizer_folder, folder)
        out.mkdir()
        file = folder / "tokenizer_config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"chat_template": template}))
        events: list[dict[str, Any]] = []
        context = StageContext("evaluate[toy]", out, tmp_path / "state", events.append)
        respondent = CheckpointRespondent(ModelSource(our_model.checkpoint, folder), Execution())
        with measuring.Measuring("toy", respondent, Suite(system=system), context) as run:
            run.ask(tasks, None)
            run.write([], None)
        return Scores.read(out), [event["message"] for event in events if event["event"] == "warning"]

    return measure


@pytest.mark.parametrize(
    ("template", "refused"),
    [
        (CHATML, {}),
        (REFUSING, {"described": SYSTEM_WORDS, "both": SYSTEM_WORDS}),
        (LEAVING_OUT, {"described": SYSTEM_WORDS, "both": SYSTEM_WORDS}),
        (SINGLE, {"described": SYSTEM_WORDS, "shots": ORDER_WORDS, "both": "turns of system, user, assistant, user."}),
        (LAST, {"described": SYSTEM_WORDS, "shots": ORDER_WORDS, "both": "turns of system, user, assistant, user."}),
    ],
    ids=["chatml", "refusing", "leaving out", "single", "last"],
)
def test_a_task_without_a_place_in_the_template_is_left_out_alone(
    template: str, refused: dict[str, str], measure: Measure
) -> None:
    scores, warnings = measure(template, [Asked(name) for name in TURNS])
    assert set(scores.headlines) == set(TURNS) - set(refused)
    assert set(scores.skipped) == set(refused)
    for name, words in refused.items():
        assert words in scores.skipped[name]
        assert f"{name} is not measured: {scores.skipped[name]}" in warnings


@needs("lm_eval")
@pytest.mark.parametrize("template", [REFUSING, LEAVING_OUT])
def test_the_description_of_a_page_costs_that_page_alone(template: str, measure: Measure, tmp_path: Path) -> None:
    """The harness itself asks without the description then, and says so in its log alone."""
    page = (
        "task: {}\ndataset_path: json\ndataset_kwargs: {{data_files: {{test: rows.jsonl}}}}\ntest_split: test\n"
        "output_type: generate_until\ndoc_to_text: '{{{{question}}}}'\ndoc_to_target: '{{{{answer}}}}'\n"
        "generation_kwargs: {{until: ['.'], max_gen_toks: 2}}\nmetric_list: [{{metric: exact_match}}]\n"
    )
    (tmp_path / "rows.jsonl").write_text(json.dumps({"question": "Which?", "answer": "This"}) + "\n")
    for name, more in (("plain", ""), ("described", "description: 'Rivers.'\n")):
        (tmp_path / f"{name}.yaml").write_text(page.format(name) + more)
    pages = [HarnessOptions.named(f"lm_eval:{name}", tmp_path) for name in ("plain", "described")]
    scores, _ = measure(template, [options.task(tmp_path, None, chat=True) for options in pages])
    assert set(scores.headlines) == {"lm_eval:plain"}
    assert SYSTEM_WORDS in scores.skipped["lm_eval:described"]


@pytest.mark.parametrize("template", [REFUSING, LEAVING_OUT, LAST])
def test_the_user_s_own_system_prompt_is_an_error_before_anything_is_asked(
    template: str, measure: Measure, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answered(*_: object) -> None:
        raise AssertionError("asked")

    monkeypatch.setattr(respondents, "answer", answered)
    with pytest.raises(ValueError, match=SYSTEM_WORDS):
        measure(template, [Asked("plain")], "Be brief.")
