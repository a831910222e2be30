"""Log-likelihoods of multiple-choice questions: ids read and seconds, against lm-evaluation-harness's own `hf` path.

One Llama of the quickstart's size with random weights, questions of the shapes of five tasks, both on one core:

    mmlu        five worked examples shared by all questions of a subject, four letters
    hellaswag   a context and four endings
    arc         a short question and four answers
    boolq       a passage, yes and no
    winogrande  two contexts that part at a name, one continuation
"""

import importlib.util
import logging
import random
import sys
import tempfile
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from harness import arguments, interleave, machine, one_core, report
from machine_text import machine_texts

from pipelines.artifacts.tokenization.tokenizer import TOKENIZER_FILE, write_config
from pipelines.evaluate.engine.decoding import TextGenerator
from pipelines.evaluate.engine.likelihood import LikelihoodScorer
from pipelines.evaluate.engine.requests import Generation, LogLikelihood
from pipelines.models.loading import load_model
from pipelines.models.source import ModelSource
from pipelines.models.text_model import TextModel
from pipelines.tokenize.vocabulary import END, train_tokenizer

VOCABULARY = 4096
Question = list[LogLikelihood]


def main() -> None:
    options = arguments(__doc__.splitlines()[0])
    one_core()
    torch.set_num_threads(1)
    num_questions, repeats = (10, 1) if options.quick else (60, 3)
    texts = machine_texts(40)
    words = [word for text in texts for word in text.split() if word.isascii()]
    tasks = suite(random.Random(0), words, num_questions)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_model(folder, texts)
        ratio, ours, theirs = compare(folder, tasks, repeats)
        model = load_model(ModelSource(folder))
    row_cost(model)
    writing(model, words, 16 if options.quick else 64)
    print(machine("torch", "transformers", "lm_eval"))
    goal = "log-likelihoods of the suite in less time than lm_eval's hf path, with >= 3x fewer ids than one by one"
    report("loglikelihood", ours, {"lm_eval hf, batch 16": theirs}, "questions per CPU second", ratio, goal)


def compare(folder: Path, tasks: dict[str, list[Question]], repeats: int) -> tuple[float, float, float]:
    """(ratio, our questions per CPU second, lm_eval's)"""
    model = load_model(ModelSource(folder))
    peer, counter = harness_model(folder)
    print(f"{'task':12}{'one by one':>12}{'lm_eval':>10}{'ours':>10}{'fewer':>8}{'seconds: lm_eval':>18}{'ours':>8}")
    sums = [0.0] * 5
    for name, questions in tasks.items():
        scorer = LikelihoodScorer(model)
        result = [answer for answers in scorer.score(questions) for answer in answers]
        counter.clear()
        expected = peer.loglikelihood(instances(questions), disable_tqdm=True)
        worst = max(abs(one.log_probability - two[0]) for one, two in zip(result, expected, strict=True))
        assert worst < 1e-3, f"{name}: the numbers differ by {worst}"
        row = [alone(model, questions), sum(counter), scorer.num_read]
        timings = interleave(
            {
                "lm_eval": lambda questions=questions: peer.loglikelihood(instances(questions), disable_tqdm=True),
                "ours": lambda questions=questions: LikelihoodScorer(model).score(questions),
            },
            repeats,
        )
        seconds = [timings["lm_eval"].median, timings["ours"].median]
        sums = [total + part for total, part in zip(sums, [*row, *seconds], strict=True)]
        print_row(name, [*row, *seconds])
    print_row("all", sums)
    count = sum(len(questions) for questions in tasks.values())
    return sums[3] / sums[4], count / sums[4], count / sums[3]


def print_row(name: str, values: Sequence[float]) -> None:
    naive, theirs, ours, *seconds = values
    counts = f"{naive:12,.0f}{theirs:10,.0f}{ours:10,.0f}{naive / ours:7.1f}x"
    print(f"{name:12}{counts}{seconds[0]:18.2f}{seconds[1]:8.2f}")


def row_cost(model: TextModel) -> None:
    """The cost of a row by the height of the pass: the reason why a prefix is read in blocks of 128."""
    print("microseconds of a row, in a pass of so many rows")
    scorer = LikelihoodScorer(model)
    for height in (16, 32, 64, 128, 256, 512):
        ids = torch.randint(1, VOCABULARY, (1, height))
        mask = torch.full((1, 1, height, height), -torch.inf).triu(1)
        arguments = ids, torch.arange(height)[None], mask, torch.tensor([height - 1])
        with torch.inference_mode():
            timing = interleave({"pass": lambda arguments=arguments: scorer._model.logits(*arguments)}, 9)["pass"]
        print(f"  {height:4} {timing.median / height * 1e6:8.1f}")


def writing(model: TextModel, words: Sequence[str], count: int) -> None:
    """Ids a second of generation, alone and side by side."""
    requests = [Generation(" ".join(words[50 * n : 50 * n + 40]), (), 32) for n in range(count)]
    contenders = {
        "alone, the same bits in any company": lambda: TextGenerator(model).write(requests),
        f"{count} side by side": lambda: TextGenerator(model, batched=True).write(requests),
    }
    print("generation")
    for name, timing in interleave(contenders, 1).items():
        print(f"  {name:38} {32 * count / timing.median:8,.0f} ids/s")


def suite(random: random.Random, words: Sequence[str], count: int) -> dict[str, list[Question]]:
    """`count` questions of each task."""

    def text(length: int) -> str:
        return " ".join(random.choices(words, k=length))

    def choices(context: str, endings: Sequence[str]) -> Question:
        return [LogLikelihood(context, f" {ending}") for ending in endings]

    shots = "\n\n".join(f"{text(60)}\nAnswer: {letter}" for letter in "ABCDA")
    return {
        "mmlu": [choices(f"{shots}\n\n{text(60)}\nAnswer:", "ABCD") for _ in range(count)],
        "hellaswag": [choices(text(40), [text(15) for _ in range(4)]) for _ in range(count)],
        "arc": [choices(f"Question: {text(20)}\nAnswer:", [text(4) for _ in range(4)]) for _ in range(count)],
        "boolq": [choices(f"{text(100)}\nQuestion: {text(8)}?\nAnswer:", ["no", "yes"]) for _ in range(count)],
        "winogrande": [
            [LogLikelihood(f"{start} {name}", end) for name in ("Sarah", "Maria")]
            for start, end in ((text(12), " " + text(6)) for _ in range(count))
        ],
    }


def alone(model: TextModel, questions: Sequence[Question]) -> int:
    """Ids read if every request is a separate pass."""
    return sum(
        len(model.codec.encode(request.context + request.continuation)) - 1
        for question in questions
        for request in question
    )


def write_model(folder: Path, texts: list[str]) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = train_tokenizer(texts, VOCABULARY)
    tokenizer.save(str(folder / TOKENIZER_FILE))
    write_config(tokenizer, END, folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        initializer_range=0.1,
    )
    LlamaForCausalLM(config).save_pretrained(folder)


def harness_model(folder: Path) -> tuple[Any, list[int]]:
    """lm_eval's model, and a list that takes the size of each of its passes."""
    logging.disable(logging.WARNING)
    if importlib.util.find_spec("accelerate") is None:
        # It is imported there for placing models on GPUs; a model that is given needs none of it.
        stand_in: Any = types.ModuleType("accelerate")
        stand_in.Accelerator = stand_in.InitProcessGroupKwargs = stand_in.find_executable_batch_size = object
        stand_in.utils = types.ModuleType("accelerate.utils")
        stand_in.utils.get_max_memory = object
        sys.modules |= {"accelerate": stand_in, "accelerate.utils": stand_in.utils}
    from lm_eval.models.huggingface import HFLM
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder, dtype="float32")
    sizes: list[int] = []
    model.register_forward_pre_hook(lambda module, inputs: sizes.append(inputs[0].numel()))
    return HFLM(pretrained=model, tokenizer=AutoTokenizer.from_pretrained(folder), batch_size=16), sizes


def instances(questions: Sequence[Question]) -> list[Any]:
    from lm_eval.api.instance import Instance

    pairs = [(request.context, request.continuation) for question in questions for request in question]
    return [Instance("loglikelihood", {}, pair, number) for number, pair in enumerate(pairs)]


if __name__ == "__main__":
    main()
