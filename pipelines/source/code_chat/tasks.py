"""Tasks drawn from `operations`: the question, the program that answers it, and the value that it must return."""

import random
from dataclasses import dataclass
from typing import Any

from pipelines.artifacts.conversations import ASSISTANT, USER, Conversation, Turn
from pipelines.source.code_chat.operations import RESULTS, STEPS, Kind, Result, Step

QUESTIONS = (
    "Write a Python function `{name}` that takes a list of {kind}, {steps} and {result}.",
    "I need a Python function `{name}`. It takes a list of {kind}, {steps} and {result}.",
    "Define `{name}` in Python: given a list of {kind}, it {steps} and {result}.",
)
EXAMPLES = ("What does it return for {value}?", "And for {value}?", "Which value do I get for `{name}({value})`?")
WORDS = ("river", "map", "cloud", "tree", "night", "garden", "sea", "letter", "stone", "map", "a", "winter")
NUM_CALLS = 5
LARGEST_NUMBER = 20
MAX_STEPS = 2


@dataclass(frozen=True)
class Task:
    """`calls`: the list of each call; the last one is the example that the user asks about."""

    name: str
    kind: Kind
    steps: tuple[tuple[Step, int], ...]
    result: Result
    calls: tuple[list[Any], ...]

    @property
    def program(self) -> str:
        lines = [f"    values = {step.code.replace('{n}', str(n))}" for step, n in self.steps]
        return "\n".join([f"def {self.name}(values):", *lines, f"    return {self.result.code}"])

    def expected(self, values: list[Any]) -> Any:
        """The result of the function for `values`, by the references. Raises whatever these raise."""
        for step, n in self.steps:
            values = step.reference(values, n)
        return self.result.reference(values)

    def conversation(self, returned: Any, draw: random.Random) -> Conversation:
        """The task with its program, then the example, for which the program `returned` a value."""
        steps = ", ".join(step.words.format(n=n) for step, n in self.steps)
        words = {"name": self.name, "kind": self.kind, "steps": steps, "result": self.result.words}
        question = draw.choice(QUESTIONS).format(**words)
        example = draw.choice(EXAMPLES).format(name=self.name, value=self.calls[-1])
        return Conversation(
            (
                Turn(USER, question),
                Turn(ASSISTANT, f"```python\n{self.program}\n```"),
                Turn(USER, example),
                Turn(ASSISTANT, repr(returned)),
            )
        )


def draw_task(draw: random.Random) -> Task:
    """A task with lists to call it with, an empty one among them."""
    kind: Kind = draw.choice(("numbers", "words"))
    chosen = draw.sample(STEPS[kind], draw.randint(1, MAX_STEPS))
    steps = tuple((step, draw.randint(2, 9 if kind == "numbers" else 4)) for step in chosen)
    result = draw.choice(RESULTS[kind])
    calls = ([], *(_values(kind, draw) for _ in range(NUM_CALLS - 1)))
    return Task(f"{result.name}_of_{kind}", kind, steps, result, calls)


def _values(kind: Kind, draw: random.Random) -> list[Any]:
    size = draw.randint(2, 6)
    if kind == "numbers":
        return [draw.randint(-LARGEST_NUMBER, LARGEST_NUMBER) for _ in range(size)]
    return [draw.choice(WORDS) for _ in range(size)]
