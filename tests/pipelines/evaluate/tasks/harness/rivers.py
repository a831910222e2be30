"""Pages of the harness' kind about rivers, and a model that answers their questions by two functions."""

import hashlib
import json
from pathlib import Path
from typing import Any

from pipelines.evaluate.engine.requests import Answer, Likelihood, LogLikelihood, Request, Text

CHOICES_PAGE = """
task: own_rivers
dataset_path: json
dataset_kwargs: {data_files: {test: rivers.jsonl, dev: rivers_dev.jsonl}}
output_type: multiple_choice
test_split: test
fewshot_split: dev
doc_to_text: "Q: {{question}}\\nA:"
doc_to_target: answer
doc_to_choice: "{{choices}}"
metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}, {metric: acc_norm}]
metadata: {version: 1.0}
"""
TEXT_PAGE = """
include: own_rivers.yaml
task: own_names
output_type: generate_until
doc_to_target: "{{choices[answer]}}"
doc_to_choice: null
generation_kwargs: {until: ["\\n", "Q:"], max_gen_toks: 7}
filter_list:
  - {name: first, filter: [{function: regex, regex_pattern: "([a-z]+)"}, {function: take_first}]}
metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true, ignore_case: true}]
"""

BEGUN_PAGE = """
include: other_name.yaml
task: own_begun
description: "Rivers of {{question[:5]}}.\\n\\n"
gen_prefix: "The river is"
"""
OPENED_PAGE = """
include: other_name.yaml
task: own_opened
gen_prefix: " The river"
"""
DESCRIBED_PAGE = """
include: other_name.yaml
task: own_described
description: "Rivers."
fewshot_delimiter: "\\n"
"""
CODE_PAGE = """
include: own_rivers.yaml
task: own_{kind}
class: !function own_code.{kind}
output_type: generate_until
doc_to_target: "{{{{choices[answer]}}}}"
doc_to_choice: null
"""
CODE = """
from lm_eval.api.instance import Instance
from lm_eval.api.task import ConfigurableTask

class Choices(ConfigurableTask):
    kinds = ("loglikelihood",)

    def __init__(self, config):
        super().__init__(config={name: value for name, value in config.items() if name != "class"})

    def construct_requests(self, doc, ctx, metadata, **_):
        second = {"generate_until": {"until": ["Q:"]}, "loglikelihood": " unanswerable"}
        return [
            Instance(request_type=kind, doc=doc, arguments=(ctx, second[kind]), idx=0, metadata=metadata)
            for kind in self.kinds
        ]

class Mixed(Choices):
    kinds = ("generate_until", "loglikelihood")
"""


def row(number: int) -> dict[str, Any]:
    choices = [f"river{letter * (number % 3 + 1)}" for letter in "abc"]
    return {"question": f"Which river is {number}?", "choices": choices, "answer": number % 3}


def write_pages(folder: Path) -> None:
    """The pages and their rows."""
    (folder / "own_rivers.yaml").write_text(CHOICES_PAGE)
    (folder / "other_name.yaml").write_text(TEXT_PAGE)
    (folder / "own_begun.yaml").write_text(BEGUN_PAGE)
    (folder / "own_opened.yaml").write_text(OPENED_PAGE)
    (folder / "own_described.yaml").write_text(DESCRIBED_PAGE)
    (folder / "own_code.py").write_text(CODE)
    for kind in ("Choices", "Mixed"):
        (folder / f"own_{kind}.yaml").write_text(CODE_PAGE.format(kind=kind))
    for name, numbers in (("rivers", range(12)), ("rivers_dev", range(20, 26))):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row(number)) + "\n" for number in numbers))


def opinion(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def likelihood(context: str, continuation: str) -> tuple[float, bool]:
    return -(opinion(f"{context}|{continuation}") % 997) / 10 - 0.1, False


def written(prompt: str) -> str:
    """The right river or another word."""
    number = int(prompt.rsplit("Which river is ", 1)[1].split("?")[0])
    right = f"river{'abc'[number % 3] * (number % 3 + 1)}"
    return f"{right}, I think" if opinion(prompt) % 2 else "42"


def respond(request: Request) -> Answer:
    if isinstance(request, LogLikelihood):
        return Likelihood(*likelihood(request.context, request.continuation), 0)
    return Text(written(request.prompt), "end", 0)
