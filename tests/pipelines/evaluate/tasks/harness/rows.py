"""Rows of the academic tasks, in the format of each file of the data root."""

from collections.abc import Mapping, Sequence
from typing import Any

WORDS = ("rain", "a stone, which sinks", "the river", "café tables", "seven sails")


def arc(number: int, num_choices: int) -> dict[str, Any]:
    labels = list("ABCDE"[:num_choices])
    return {
        "id": f"own_{number}",
        "question": f"What fills lake {number}?",
        "choices": {"text": list(WORDS[:num_choices]), "label": labels},
        "answerKey": labels[number % num_choices],
    }


def race(number: int) -> dict[str, Any]:
    problems = [
        {"question": "Who is old?", "answer": "B", "options": ["Ann", "Bo", "Cy", "Di"]},
        {"question": "Bo likes  _  .", "answer": "D", "options": list(WORDS[:4])},
        {"question": f"Why {number}?", "answer": "ABCD"[number % 4], "options": list(WORDS[1:])},
    ]
    return {"example_id": f"own{number}", "article": f"Bo is {number} years old.", "problems": str(problems)}


def mmlu(subject: str, number: int) -> dict[str, Any]:
    return {
        "question": f" What is {number} + 1? ",
        "subject": subject,
        "choices": [str(number + step) for step in range(4)],
        "answer": number % 4,
    }


def gsm8k(number: int) -> dict[str, str]:
    total = number + 1000
    return {
        "question": f"Ann has {number} cups and buys 1,000. How many has she?",
        "answer": f"She has {number} + 1000 = <<{number}+1000={total}>>{total}.\n#### {total:,}",
    }


ROWS: Mapping[str, Sequence[Mapping[str, Any]]] = {
    "arc_easy/test.jsonl.gz": [arc(number, 3 + number % 2) for number in range(5)],
    "arc_challenge/test.jsonl.gz": [arc(number, 4) for number in range(5)],
    "boolq/validation.jsonl.gz": [
        {"question": f"is lake {number} deep", "answer": number % 2 == 0, "passage": f"Lake {number} is a lake."}
        for number in range(4)
    ],
    "commonsense_qa/validation.jsonl.gz": [
        {**arc(number, 5), "question": f" Where is {number}? ", "question_concept": "lake"} for number in range(6)
    ],
    "copa/validation.jsonl.gz": [
        {
            "premise": f"Ann opened door {number}.",
            "choice1": "She fell.",
            "choice2": "The Cat came in.",
            "question": ("cause", "effect")[number % 2],
            "idx": number,
            "label": number // 2 % 2,
        }
        for number in range(4)
    ],
    "hellaswag/validation.jsonl.gz": [
        {
            "ind": number,
            "activity_label": "Sailing [step] home",
            "ctx_a": "Ann hoists the sail. [header] Wind [title] comes.",
            "ctx_b": "she",
            "ctx": "Ann hoists the sail. she",
            "endings": [f"{word} [substeps] goes." for word in WORDS[:4]],
            "source_id": f"own~{number}",
            "split": "val",
            "split_type": "indomain",
            "label": str(number % 4),
        }
        for number in range(5)
    ],
    "lambada_openai/test.jsonl.gz": [{"text": f"Ann has {number} cats.\nShe loves her {word}"} for number, word in
                                     enumerate(("cats", "cats", "naïve", "cats"))],
    "openbookqa/test.jsonl.gz": [
        {"question_stem": row.pop("question"), **row} for row in (arc(number, 4) for number in range(4))
    ],
    "piqa/validation.jsonl.gz": [
        {"goal": f"Cool {number} cups", "sol1": "Wait.", "sol2": "Put them on the fire.", "label": number % 2}
        for number in range(4)
    ],
    "race/test.jsonl": [race(number) for number in range(4)],
    "winogrande/validation.jsonl.gz": [
        {"sentence": "Ann met Bo because _ was late.", "option1": "Ann", "option2": "Bo", "answer": str(1 + number % 2)}
        for number in range(4)
    ],
    "mmlu/test.jsonl.gz": [
        mmlu(subject, number) for number in range(4) for subject in ("anatomy", "world_religions")
    ],
    "mmlu/dev.jsonl.gz": [
        mmlu(subject, 10 + number) for subject in ("anatomy", "world_religions") for number in range(5)
    ],
    "gsm8k/test.jsonl": [gsm8k(number) for number in range(6)],
    "gsm8k/train.jsonl": [gsm8k(100 + number) for number in range(9)],
}  # fmt: skip
