"""Prompts for programs, and extraction of the program from an answer: the ways of EvalPlus and of BigCode."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pipelines.evaluate.task import way_of
from pipelines.evaluate.tasks.code.problems import Problem

EVALPLUS_INSTRUCTION = (
    "Please provide a self-contained Python script that solves the following problem in a markdown code block:"
)
EVALPLUS_STOPS = ("<|endoftext|>", "<|endofmask|>", "</s>", "\nif __name__", "\ndef main(", "\nprint(")
EVALPLUS_COMPLETION_STOPS = {
    "HumanEval": ("\ndef ", "\nclass ", "\nimport ", "\nfrom ", "\nassert "),
    "Mbpp": ('\n"""', "\nassert"),
}
EVALPLUS_MAX_NEW_TOKENS = 768
"""All of evalplus 0.3.1 (evalplus/provider, evalplus/codegen.py)."""
BIGCODE_STOPS = {
    "HumanEval": ("\nclass ", "\ndef ", "\n#", "\n@", "\nprint", "\nif", "\n```", "<file_sep>"),
    "Mbpp": ("\nclass", "\nassert", '\n"""', "\nprint", "\nif", "\n<|/", "\n```"),
}
"""bigcode-evaluation-harness, bigcode_eval/tasks/humaneval.py and mbpp.py."""
BIGCODE_MAX_NEW_TOKENS = 512
"""Its default for prompt and answer together."""


@dataclass(frozen=True)
class Style:
    """A way of asking.

    `description`: of the prompt, in a few words; `form`, `stops` and `max_new_tokens` as in Generation; `instruction`:
    text above a problem's prompt, which is fenced then; `strips`: whether to strip blanks around the prompt, and its
    end then; `extracts`: whether to extract the program from the answer, instead of joining prompt and answer.
    """

    description: str
    form: Literal["plain", "message"]
    stops: tuple[str, ...]
    max_new_tokens: int
    instruction: str = ""
    strips: bool = False
    end: str = ""
    extracts: bool = True

    def prompt(self, problem: Problem) -> str:
        """The prompt of the model."""
        if self.instruction:
            return f"{self.instruction}\n```\n{problem.prompt.strip()}\n```\n"
        return (problem.prompt.strip() if self.strips else problem.prompt) + self.end

    def texts(self, problem: Problem, answer: str) -> Sequence[str]:
        """Candidate texts of the program, best first: a message is answered by a whole program, or continued like a
        prompt."""
        if self.instruction:
            return answer, f"{problem.prompt.strip()}\n{answer}"
        return (self.prompt(problem) + answer,)


def styles(benchmark: str) -> Mapping[str, Style]:
    """The ways of asking for programs of "HumanEval" or "Mbpp", by name.

    "chat": EvalPlus's message to models with a chat template. EvalPlus itself also writes the first words of the
    answer, which no message can. "base": the prompt that EvalPlus gives all others. "bigcode": the prompt of
    bigcode-evaluation-harness.
    """
    return {
        "chat": Style(
            f"EvalPlus's instruction {way_of(True)}",
            "message",
            EVALPLUS_STOPS,
            EVALPLUS_MAX_NEW_TOKENS,
            instruction=EVALPLUS_INSTRUCTION,
        ),
        "base": Style(
            f"EvalPlus's prompt for base models, {way_of(False)}",
            "plain",
            EVALPLUS_STOPS + EVALPLUS_COMPLETION_STOPS[benchmark],
            EVALPLUS_MAX_NEW_TOKENS,
            strips=True,
            end="\n",
        ),
        "bigcode": Style(
            f"BigCode's prompt, {way_of(False)}",
            "plain",
            BIGCODE_STOPS[benchmark],
            BIGCODE_MAX_NEW_TOKENS,
            strips=benchmark == "HumanEval",
            extracts=False,
        ),
    }
