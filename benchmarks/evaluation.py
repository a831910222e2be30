"""Evaluation against its peers in one run: judging programs, log-likelihoods, and generation, all in CPU time.

    judging          programs of HumanEval+ with all inputs, half of them right, against EvalPlus, children included
    log-likelihoods  the questions of loglikelihood.py, against lm-evaluation-harness' `hf` at batch 16
    generation       greedy answers to 32 prompts side by side, against transformers' `generate` at batch 32: prompts of
                     one question each, and questions behind the examples of their task, as GSM8K and Spider are asked

Judging needs HumanEval+ in the data root (ARCTIC_EVAL_DATA) and EvalPlus on the path; without them it is left out:

    pip install --no-deps --target build/evalplus evalplus==0.3.1 appdirs wget tempdir multipledispatch termcolor psutil
    PYTHONPATH=build/evalplus ARCTIC_EVAL_DATA=eval_data python benchmarks/evaluation.py
"""

import importlib.util
import os
import random
import resource
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from harness import arguments, interleave, machine, one_core, report, times_as_fast
from loglikelihood import compare, suite, write_model
from machine_text import machine_texts

from pipelines.evaluate.engine.decoding import TextGenerator
from pipelines.evaluate.engine.requests import Generation, Likelihood, Text
from pipelines.evaluate.tasks.code.references import References
from pipelines.evaluate.tasks.code.task import HUMANEVAL_PLUS, CodeTask, styles
from pipelines.models.loading import load_model
from pipelines.models.source import ModelSource

BATCH, QUICK_BATCH = 32, 4
WRITING = {
    "32 ids": (0, 40, 32),
    "128 ids": (0, 40, 128),
    "128 ids behind examples": (60, 8, 128),
}
"""Words of the examples that all prompts begin with, words of a question, and new ids."""
GOALS = "judging >= 3x EvalPlus at equal verdicts, log-likelihoods >= 2x lm_eval hf, generation >= 2x generate"


def main() -> None:
    options = arguments(__doc__.splitlines()[0])
    one_core()
    torch.set_num_threads(1)
    repeats, batch = (1, QUICK_BATCH) if options.quick else (3, BATCH)
    texts = machine_texts(40)
    words = [word for text in texts for word in text.split() if word.isascii()]
    ratios = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_model(folder, texts)
        tasks = suite(random.Random(0), words, 6 if options.quick else 40)
        ratios["log-likelihoods"], ours, theirs = compare(folder, tasks, repeats)
        for case in [*WRITING][-1:] if options.quick else WRITING:
            shared, own, new_tokens = WRITING[case]
            first = " ".join(words[:shared])
            prompts = [f"{first} {' '.join(words[60 * n : 60 * n + own])}".strip() for n in range(1, batch + 1)]
            ratios[case] = generation(folder, prompts, new_tokens, repeats)
    root = Path(os.environ.get("ARCTIC_EVAL_DATA", "eval_data"))
    if (root / HUMANEVAL_PLUS.file).is_file() and importlib.util.find_spec("evalplus"):
        ratios["judging"] = judging(root, 2 if options.quick else 16, repeats)
    else:
        print(f"judging: no EvalPlus, or no {HUMANEVAL_PLUS.file} below {root}: not measured")
    for goal, ratio in ratios.items():
        print(f"{goal:24}{ratio:6.2f}x")
    print(machine("torch", "transformers", "lm_eval"))
    peers = {"lm_eval hf, batch 16": theirs}
    report("evaluation", ours, peers, "questions per CPU second", min(ratios.values()), GOALS)


def generation(folder: Path, prompts: Sequence[str], new_tokens: int, repeats: int) -> float:
    """How many times as fast as `generate` greedy answers to prompts are written, reading included."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = load_model(ModelSource(folder))
    peer, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    requests = [Generation(text, (), new_tokens) for text in prompts]
    ids = [model.codec.encode(text) for text in prompts]
    tokenizer.pad_token, tokenizer.padding_side = tokenizer.eos_token, "left"

    def theirs() -> list[str]:
        inputs = tokenizer.pad({"input_ids": ids}, return_tensors="pt")
        with torch.inference_mode():
            written = peer.generate(
                **inputs,
                max_new_tokens=new_tokens,
                do_sample=False,
                eos_token_id=None,
                pad_token_id=tokenizer.eos_token_id,
            )
        return [tokenizer.decode(row, skip_special_tokens=True) for row in written[:, inputs["input_ids"].shape[1] :]]

    def ours() -> list[str]:
        return [answer.text for answer in TextGenerator(model, batched=True).write(requests)]

    equal = sum(one == two for one, two in zip(ours(), theirs(), strict=True))
    length = sum(map(len, ids)) / len(ids)
    print(f"{new_tokens} new ids after {length:.0f}: {equal} of {len(ids)} answers are the same texts")
    timings = interleave({"ours": ours, "theirs": theirs}, repeats)
    for name, timing in timings.items():
        print(f"  {name:8}{len(ids) * new_tokens / timing.median:10,.0f} ids per CPU second")
    return times_as_fast(timings["ours"], timings["theirs"])


def judging(root: Path, count: int, repeats: int) -> float:
    """How many times as fast as EvalPlus programs are judged, to the same verdicts. The expected values of both are
    computed before."""
    task = CodeTask("humaneval_plus", HUMANEVAL_PLUS, styles("HumanEval")["bigcode"], root, num_sandboxes=1)
    items = task.items()[:count]
    right = [item.gold.canonical_solution for item in items]
    wrong = ("    return None\n", "    raise KeyError\n")
    answers = [text for n, solution in enumerate(right) for text in (solution, wrong[n % 2])]
    pairs = [item for item in items for _ in range(2)]
    gold = Likelihood(-1.0, False, 0)
    texts = [(Text(answer, "end", 0), gold) for answer in answers]
    task.references = References()
    task.score(pairs, texts)
    result: dict[str, list[bool]] = {}

    def ours() -> None:
        result["ours"] = [verdict.shares["pass@1"].part == 1 for verdict in task.score(pairs, texts)]

    check = evalplus_check(root, [item.item_id for item in items])

    def theirs() -> None:
        programs = ((item.item_id, item.gold.prompt + text) for item, text in zip(pairs, answers, strict=True))
        result["theirs"] = [check(*program) for program in programs]

    timings = interleave({"ours": ours, "theirs": theirs}, repeats, clock=with_children)
    differing = sum(one != two for one, two in zip(result["ours"], result["theirs"], strict=True))
    print(f"judging: {len(answers)} programs, {sum(result['ours'])} right, {differing} verdicts differ")
    for name, timing in timings.items():
        print(f"  {name:8}{len(answers) / timing.median:10.2f} programs per CPU second")
    return times_as_fast(timings["ours"], timings["theirs"])


def evalplus_check(root: Path, names: Sequence[str]) -> Callable[[str, str], bool]:
    """EvalPlus' verdict about a program, with the same data and its own expected values."""
    os.environ["HUMANEVAL_OVERRIDE_PATH"] = str(root / HUMANEVAL_PLUS.file)
    from evalplus.data import get_human_eval_plus
    from evalplus.eval import PASS, untrusted_check
    from evalplus.gen.util import trusted_exec

    problems = {name: problem for name, problem in get_human_eval_plus().items() if name in names}
    expected = {
        (name, kind): trusted_exec(
            problem["prompt"] + problem["canonical_solution"],
            problem[f"{kind}_input"],
            problem["entry_point"],
            record_time=True,
        )
        for name, problem in problems.items()
        for kind in ("base", "plus")
    }

    def check(name: str, program: str) -> bool:
        problem = problems[name]
        for kind in ("base", "plus"):
            values, seconds = expected[name, kind]
            inputs = problem[f"{kind}_input"], problem["entry_point"]
            verdict = untrusted_check("humaneval", program, *inputs, values, problem["atol"], seconds, fast_check=True)
            if verdict[0] != PASS:
                return False
        return True

    return check


def with_children() -> float:
    """CPU seconds of this process and of its finished children."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


if __name__ == "__main__":
    main()
