"""Tokens per second of decoding at batch 1, 8 and 32, and of reading prompts, against other engines.

One Arctic model of 48M active parameters with random weights, on two cores: the other engines read the exports of the
same weights, each in a separate process, and the table counts answers of equal tokens. All weights are numbers that
bfloat16 and float16 hold, so the engines differ in how they compute only. The time until the first new token is
subtracted: reading prompts has a separate row. llama.cpp and vLLM take part if `make interop` has built their
environments.

A step reads at least every weight but those of experts that no token chose. The bandwidth that this is compared with
is that of a sum over 1 GB in the same run. The times are those of a wall clock: run it on a machine that does nothing
else.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from decode_contender import CONTENDERS
from harness import arguments, machine, report

from arctic_model import ArcticConfig, ArcticModel
from arctic_model.checkpoint.huge_pages import move_to_huge_pages
from arctic_model.checkpoint.reading import Checkpoint
from arctic_model.export.formats import FORMATS
from arctic_model.sizing import count_parameters
from pipelines.artifacts.tokenization.tokenizer import TOKENIZER_FILE, write_config
from pipelines.tokenize.vocabulary import END, train_tokenizer

CONFIG = ArcticConfig(
    vocab_size=8192,
    hidden_size=640,
    num_layers=10,
    num_heads=10,
    num_kv_heads=2,
    num_experts=16,
    expert_size=448,
    max_positions=1024,
    # Random logits that are further apart than rounding.
    init_std=0.05,
)
ROOT = Path(__file__).parents[1]
ENVIRONMENTS = {"llama.cpp F32": "llama_cpp", "llama.cpp F16": "llama_cpp", "vLLM": "vllm"}
"""By contender, the folder of its environment below build/interop; this one for the others."""
THREADS, PROMPT, LONG_PROMPT = 2, 16, 512
OURS, THEIRS, LLAMA = "ours", "transformers generate", "llama.cpp F32"
OURS_HALF, LLAMA_HALF = "ours bfloat16", "llama.cpp F16"
QUICK = OURS, THEIRS, LLAMA
RIVALS = {LLAMA_HALF: OURS_HALF}
"""The one of ours that a contender's bytes per weight are equal to; OURS for all others."""


class Contender:
    """A process that continues prompts."""

    def __init__(self, name: str, folder: Path, stack: ExitStack) -> None:
        self.name = name
        command = [_python(name), ROOT / "benchmarks" / "decode_contender.py", name, folder, str(THREADS)]
        environment = os.environ | {"OMP_NUM_THREADS": str(THREADS), "PYTHONPATH": str(ROOT)}
        pipes: Mapping[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self._process = stack.enter_context(subprocess.Popen(command, env=environment, text=True, **pipes))
        stack.callback(self._process.kill)

    def wait(self) -> None:
        """Until it has loaded the model."""
        self._answer()

    def write(self, prompts: list[list[int]], num_new: int) -> tuple[float, list[list[int]]]:
        """Seconds, and the new ids."""
        assert self._process.stdin
        print(json.dumps({"prompts": prompts, "new": num_new}), file=self._process.stdin, flush=True)
        answer = self._answer()
        return answer["seconds"], answer["ids"]

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name}: the contender ended. Run decode_contender.py to see why.")
        answer: dict[str, Any] = json.loads(line)
        return answer


def main() -> None:
    options = arguments(__doc__.splitlines()[0])
    torch.set_num_threads(THREADS)
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        names = [each for each in (QUICK if options.quick else CONTENDERS) if _python(each).exists()]
        write_exports(folder, names)
        contenders = [Contender(each, folder, stack) for each in names]
        for each in contenders:
            each.wait()
        num_new, repeats, num_prompts = (9, 1, 1) if options.quick else (25, 3, 4)
        print(f"{'tokens per second':24}" + "".join(f"{each:>29}" for each in names))
        rates = {
            batch: decode(contenders, batch, num_new, repeats) for batch in ((1, 4) if options.quick else (1, 8, 32))
        }
        read(contenders, num_prompts, repeats)
        stack.close()
    bandwidths(rates)
    print(machine("torch", "transformers"), f"{THREADS} threads")
    first, largest = min(rates), max(rates)
    for one, other in ((OURS, LLAMA), (OURS_HALF, LLAMA_HALF)):
        if other in names:
            print(f"batch {first}: {one} {rates[first][one] / rates[first][other]:.2f} x {other}")
    peers = {f"{each}, batch {size}": rates[size][each] for size in (first, largest) for each in names if each != OURS}
    ratio = rates[largest][OURS] / rates[largest][THEIRS]
    goal = "batch 32 at least 2 x transformers, batch 1 at least 1 x llama.cpp"
    report("decode", rates[largest][OURS], peers, f"tokens per second at batch {largest}", ratio, goal)


def decode(contenders: list[Contender], batch: int, num_new: int, repeats: int) -> dict[str, float]:
    """New ids a second, behind the first."""
    seconds: dict[str, list[float]] = {each.name: [] for each in contenders}
    equal = dict.fromkeys(seconds, 0)
    for number in range(repeats + 1):
        prompts, expected = draw(batch, PROMPT, number), None
        for each in contenders:
            until_first, _ = each.write(draw(batch, PROMPT, -1 - number), 1)
            elapsed, ids = each.write(prompts, num_new)
            expected = expected or ids
            equal[each.name] += sum(one == other for one, other in zip(ids, expected, strict=True))
            if number:
                seconds[each.name].append(elapsed - until_first)
    rates = {name: batch * (num_new - 1) / statistics.median(values) for name, values in seconds.items()}
    show(f"write, batch {batch}", rates, seconds)
    cells = [f"{count} of {(repeats + 1) * batch}" for count in equal.values()]
    print(f"{'  answers equal to ours':24}" + "".join(f"{cell:>29}" for cell in cells), flush=True)
    return rates


def read(contenders: list[Contender], num_prompts: int, repeats: int) -> None:
    """Ids of long prompts a second."""
    seconds: dict[str, list[float]] = {each.name: [] for each in contenders}
    for number in range(repeats):
        prompts = draw(num_prompts, LONG_PROMPT, number)
        for each in contenders:
            seconds[each.name].append(each.write(prompts, 1)[0])
    rates = {name: num_prompts * LONG_PROMPT / statistics.median(values) for name, values in seconds.items()}
    show(f"read {num_prompts} x {LONG_PROMPT}", rates, seconds)


def draw(batch: int, length: int, number: int) -> list[list[int]]:
    ids = torch.randint(4, 300, (batch, length), generator=torch.Generator().manual_seed(1000 * batch + number % 1000))
    prompts: list[list[int]] = ids.tolist()
    return prompts


def show(work: str, rates: Mapping[str, float], seconds: Mapping[str, list[float]]) -> None:
    spreads = {name: (max(values) - min(values)) / statistics.median(values) for name, values in seconds.items()}
    factors = {name: rates[RIVALS.get(name, OURS)] / rate for name, rate in rates.items()}
    cells = [f"{rate:,.1f} ±{spreads[name]:.0%} {factors[name]:.2f}x" for name, rate in rates.items()]
    print(f"{work:24}" + "".join(f"{cell:>29}" for cell in cells), flush=True)


def bandwidths(rates: Mapping[int, Mapping[str, float]]) -> None:
    limit = bandwidth()
    for batch, by_name in rates.items():
        for name, width in {OURS: 4, OURS_HALF: 2}.items():
            if name not in by_name:
                continue
            step = width * weights_read(batch)
            rate = by_name[name] / batch * step
            sizes = f"{step / 1e6:.0f} MB a step, {step / batch / 1e6:.0f} MB a token"
            share = f"{rate / 1e9:.1f} GB/s, {rate / limit:.0%} of the {limit / 1e9:.1f} of a sum"
            print(f"{name}, batch {batch}: {sizes}, {share}")


def weights_read(batch: int) -> float:
    """All weights but the embedding's, and of the experts those that are chosen on average."""
    counts = count_parameters(CONFIG)
    experts = CONFIG.num_layers * CONFIG.num_experts * 3 * CONFIG.hidden_size * CONFIG.expert_size
    others = counts.total - experts - CONFIG.vocab_size * CONFIG.hidden_size
    return others + experts * (1 - (1 - CONFIG.top_k / CONFIG.num_experts) ** batch)


def bandwidth() -> float:
    """Bytes per second of reading memory that no cache holds, in pages as those of a loaded model, the best of five."""
    memory = torch.nn.Linear(2**14, 2**14, bias=False)
    move_to_huge_pages(memory)
    values = memory.weight.detach().fill_(1).flatten()
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        values.sum()
        seconds.append(time.perf_counter() - started)
    return values.nbytes / min(seconds)


def write_exports(folder: Path, names: list[str]) -> None:
    """The checkpoint, and the files that the contenders load."""
    ArcticModel(CONFIG, seed=0).to(torch.bfloat16).save_pretrained(folder / "checkpoint")
    tokenizer = train_tokenizer(["a b c " * 50], 300)
    tokenizer.save(str(folder / TOKENIZER_FILE))
    write_config(tokenizer, END, folder)
    stored = Checkpoint(folder / "checkpoint")
    expected = {"f32": ("gguf", "float32"), "f16": ("gguf", "float16"), "huggingface": ("huggingface", "float32")}
    for name, (form, dtype) in expected.items():
        if {"f16": LLAMA_HALF, "f32": LLAMA}.get(name, OURS) not in names:
            continue
        out = folder / f"export-{name}"
        out.mkdir()
        FORMATS[form].write(stored, folder, out, dtype)
        if form == "gguf":
            (out / FORMATS[form].target).rename(folder / f"{name}.gguf")
        else:
            out.rename(folder / name)


def _python(name: str) -> Path:
    environment = ENVIRONMENTS.get(name)
    return ROOT / "build" / "interop" / environment / "bin" / "python" if environment else Path(sys.executable)


if __name__ == "__main__":
    main()
