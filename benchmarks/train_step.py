"""One training step: our experts, Hugging Face's and DeepSpeed's in the same backbone, and the dense floor.

Width 256, 6 layers, 4 heads, vocabulary 4096, 4 sequences of 256 random tokens, the dense MLP in parallel to top-2
experts, fused AdamW. CPU time of one thread. Every contender is a separate process (oneDNN's cache of kernels spoils
shared ones) and they step in turn, so that a busy machine is busy for all. Whole steps, and forward and backward of one
layer's expert block alone, router included:

    ours         arctic_model
    mixtral      transformers' MixtralSparseMoeBlock with its default, grouped_mm ("eager": its loop over experts)
    deepspeed    deepspeed.moe.layer.MoE, drop_tokens=False
    dense        one MLP as wide as the experts that a token passes through
    engine       ours as a run trains it, by DeepSpeed's engine with float32 weights, norm and clipping: with AdamW, and
                 with Muon, the default

With a GPU the same contenders, one after the other, at presets for one GPU: tokens/s, MFU against 989 TFLOP/s, and a
trace of the GPU in our step.
"""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from harness import Timing, arguments, has_amx, machine, report, times_as_fast

from arctic_model.config import ArcticConfig
from arctic_model.presets import preset
from arctic_model.sizing.flops import training_flops_per_token

NEEDED = {
    "ours": None,
    "mixtral": "transformers",
    "deepspeed": "deepspeed",
    "dense": None,
    "engine adamw": "deepspeed",
    "engine muon": "deepspeed",
}
"""Contenders and the package that each needs."""
EAGER = "mixtral eager"
ENGINES = ("engine adamw", "engine muon")
"""They take whole steps only, on a CPU."""
MUON_GOAL = 1.5
"""A step with Muon as a multiple of the same engine's with AdamW."""
LONGER_STEPS = (16, 32)
"""Sequences of steps with more tokens, of which Muon takes a smaller part."""
NUM_THREADS = 1
SHAPES = {16: 512, 128: 128}
"""Width of an expert by number of experts."""
GOALS = {True: {16: 1.5, 128: 1.5}, False: {16: 1.2, 128: 1.5}}
"""Our expert layer as a multiple of the better peer, by whether the processor has AMX and by number of experts. With
AMX, products are so fast that the surrounding operations decide."""
BATCH, LENGTH = 4, 256
H100_BFLOAT16_FLOPS = 989e12
"""Dense, per second: data sheet of the H100 SXM."""
GPU_PRESETS = ("arctic-2.5b-a400m", "arctic-3.6b-a1b")
GPU_BATCH = 4


@dataclass(frozen=True)
class Setting:
    config: ArcticConfig
    shape: tuple[int, int]
    device: str
    dtype: str

    @property
    def tokens(self) -> int:
        return self.shape[0] * self.shape[1]


@dataclass(frozen=True)
class Plan:
    """`cases`: dtype, number of experts and rounds. `steps`, and passes of the `experts` alone, of each contender and
    round, after `warm_up` steps."""

    cases: tuple[tuple[str, int, int], ...]
    steps: int = 2
    experts: int = 3
    warm_up: int = 3


QUICK = Plan((("bfloat16", 128, 1),), steps=1, experts=2, warm_up=1)
# The narrow goals are those in bfloat16, and single rounds differ by a tenth and more.
FULL = Plan(
    tuple((dtype, experts, rounds) for dtype, rounds in (("bfloat16", 12), ("float32", 6)) for experts in SHAPES)
)


class Process:
    """A contender (see train_step_contender.py)."""

    def __init__(self, name: str) -> None:
        script = Path(__file__).with_name("train_step_contender.py")
        environment = os.environ | {"OMP_NUM_THREADS": str(NUM_THREADS), "PYTHONWARNINGS": "ignore"}
        self.process = subprocess.Popen(
            [sys.executable, str(script), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
        )
        self.name = name

    def ask(self, **request: Any) -> Any:
        self.send(**request)
        return self.answer()

    def send(self, **request: Any) -> None:
        assert self.process.stdin
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()

    def answer(self) -> Any:
        assert self.process.stdout
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the process of {self.name} ended; what it said on stderr stands above")
        return json.loads(answer)

    def close(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.kill()
        self.process.wait()


def main() -> None:
    options = arguments(__doc__.splitlines()[0])
    names = available()
    plan = QUICK if options.quick else FULL
    print(machine("torch", *(package for package in NEEDED.values() if package and find_spec(package))))
    actual = on_cpu(names, plan, eager=not options.quick and "mixtral" in names)
    if not options.quick and {*ENGINES} <= {*names}:
        muon_by_tokens()
    if torch.cuda.is_available():
        on_gpu([name for name in names if name not in ENGINES], steps=4 if options.quick else 12)
    else:
        print("GPU: not measured, torch.cuda.is_available() is false here")
    result(actual)


def available() -> list[str]:
    """Contenders whose package is installed; names the missing ones loudly."""
    for name, package in NEEDED.items():
        if package and not find_spec(package):
            print(f"!! {name} IS NOT MEASURED: the package {package} is not installed")
    return [name for name, package in NEEDED.items() if not package or find_spec(package)]


# ---------------------------------------------------------------- CPU


def on_cpu(names: list[str], plan: Plan, eager: bool) -> dict[tuple[str, int], dict[str, dict[str, Timing]]]:
    """Timings by (dtype, experts), contender, and kind."""
    actual = {}
    for dtype, num_experts, rounds in plan.cases:
        # The loop over 128 experts takes seconds a step: its gradients are quadratic in the number of experts.
        contenders = [*names, EAGER] if eager and num_experts == 16 else names
        actual[dtype, num_experts] = in_turn(contenders, cpu_setting(num_experts, dtype), plan, rounds)
        show(f"{num_experts} experts of width {SHAPES[num_experts]}, {dtype}", actual[dtype, num_experts])
    return actual


def muon_by_tokens() -> None:
    """Print the engine's steps with AdamW and with Muon for more and more tokens a step: Muon's products depend on the
    weights alone."""
    print("\nbfloat16, 16 experts\n\n| tokens a step | AdamW, s | Muon, s | Muon / AdamW |\n|---|---|---|---|")
    for sequences in (BATCH, *LONGER_STEPS):
        setting = replace(cpu_setting(16, "bfloat16"), shape=(sequences, LENGTH))
        adamw, muon = (kinds["step"] for kinds in in_turn([*ENGINES], setting, FULL, rounds=2).values())
        ratio = times_as_fast(adamw, muon)
        print(f"| {setting.tokens:,} | {adamw.median:.2f} | {muon.median:.2f} | {ratio:.2f} |", flush=True)


def cpu_setting(num_experts: int, dtype: str) -> Setting:
    config = ArcticConfig(
        vocab_size=4096,
        hidden_size=256,
        num_layers=6,
        num_heads=4,
        num_kv_heads=4,
        num_experts=num_experts,
        expert_size=SHAPES[num_experts],
        max_positions=LENGTH,
    )
    return Setting(config, (BATCH, LENGTH), "cpu", dtype)


def in_turn(names: list[str], setting: Setting, plan: Plan, rounds: int) -> dict[str, dict[str, Timing]]:
    """Seconds of whole steps and of experts alone, of every contender in every round."""
    seconds: dict[str, dict[str, list[float]]] = {name: {"step": [], "experts": []} for name in names}
    with processes(names) as started:
        for process in started:
            process.send(build=asdict(setting), warm_up=plan.warm_up)
        for process in started:
            process.answer()
        for _ in range(rounds):
            for kind, repeats in (("step", plan.steps), ("experts", plan.experts)):
                for process in started:
                    if kind == "experts" and process.name in ENGINES:
                        continue
                    seconds[process.name][kind] += process.ask(**{kind: repeats})
    return {name: {kind: Timing(values) for kind, values in kinds.items() if values} for name, kinds in seconds.items()}


@contextmanager
def processes(names: list[str]) -> Iterator[list[Process]]:
    started = [Process(name) for name in names]
    try:
        yield started
    finally:
        for process in started:
            process.close()


def show(title: str, timings: dict[str, dict[str, Timing]]) -> None:
    tokens = BATCH * LENGTH
    print(f"\n{title}\n\n| contender | tokens/s | spread | ours / it | experts alone, ms | spread | ours / it |")
    print("|---|---|---|---|---|---|---|")
    for name, kinds in timings.items():
        step, experts = kinds["step"], kinds.get("experts")
        row = f"| {name} | {tokens / step.median:,.0f} | {step.spread:.0%} | {speed(timings, name, 'step'):.2f} "
        if experts:
            row += f"| {1000 * experts.median:.1f} | {experts.spread:.0%} | {speed(timings, name, 'experts'):.2f} |"
        print(row if experts else row + "| | | |")


def speed(timings: dict[str, dict[str, Timing]], name: str, kind: str) -> float:
    """Our speed in units of the contender's."""
    return times_as_fast(timings["ours"][kind], timings[name][kind])


def result(actual: dict[tuple[str, int], dict[str, dict[str, Timing]]]) -> None:
    """The goals, and the line of JSON: the lower of the ratios of 16 and 128 experts in bfloat16."""
    peers = {"mixtral", "deepspeed"}
    ratios = {}
    goals = GOALS[has_amx()]
    unit = "with AMX" if has_amx() else "without AMX"
    print(f"\nA processor {unit}. Goals: the expert layer in bfloat16 {' and '.join(goal_words(goals))}")
    for (dtype, num_experts), timings in actual.items():
        present = sorted(peers & timings.keys())
        for kind in ("experts", "step"):
            against = min((speed(timings, name, kind) for name in present), default=float("nan"))
            ratios[dtype, num_experts, kind] = against
            goal = f"goal {goals[num_experts]}" if (dtype, kind) == ("bfloat16", "experts") else ""
            floor = {16: "goal 75 %", 128: "goal 55 %"}[num_experts] if (dtype, kind) == ("bfloat16", "step") else ""
            against_peers = f"{against:.2f} x the better of {' and '.join(present)} {goal}".rstrip()
            of_dense = f"{speed(timings, 'dense', kind):.0%} of dense {floor}".rstrip()
            print(f"{dtype}, {num_experts} experts, {kind}: {against_peers}; {of_dense}")
        if {*ENGINES} <= timings.keys():
            adamw, muon = (speed(timings, name, "step") for name in ENGINES)
            ratio = times_as_fast(timings[ENGINES[0]]["step"], timings[ENGINES[1]]["step"])
            print(
                f"{dtype}, {num_experts} experts: the engine's step takes {adamw:.2f} x plain AdamW's, with Muon "
                f"{muon:.2f} x: {ratio:.2f} x the engine's with AdamW, goal {MUON_GOAL}"
            )
    timings = actual["bfloat16", 128]
    rates = {name: BATCH * LENGTH / kinds["experts"].median for name, kinds in timings.items() if "experts" in kinds}
    report(
        "train_step",
        rates.pop("ours"),
        rates,
        f"tokens/s through the expert layer, forward and backward, 128 experts, bfloat16, {unit}",
        min(
            ratio / goals[num_experts]
            for (dtype, num_experts, kind), ratio in ratios.items()
            if (dtype, kind) == ("bfloat16", "experts")
        ),
        f"1: {unit}, expert layer in bfloat16 {' and '.join(goal_words(goals))} against the better peer",
    )


def goal_words(goals: Mapping[int, float]) -> list[str]:
    return [f"{goal} x at {num_experts} experts" for num_experts, goal in goals.items()]


# ---------------------------------------------------------------- GPU


def on_gpu(names: list[str], steps: int) -> None:
    """One contender after the other: two models of this size do not fit together."""
    for name in GPU_PRESETS:
        config = preset(name)
        setting = Setting(config, (GPU_BATCH, config.max_positions), "cuda", "bfloat16")
        print(f"\n{torch.cuda.get_device_name()}, {name}, {setting.tokens:,} tokens a step, bfloat16\n")
        print("| contender | tokens/s | spread | MFU | experts alone, ms |\n|---|---|---|---|---|")
        shares = {}
        for contender in names:
            with processes([contender]) as (process,):
                print(gpu_row(process, setting, steps))
                if contender == "ours":
                    shares = process.ask(profile=3)
        if isinstance(shares, dict):
            print("\nour step: " + ", ".join(f"{kind} {share:.1%}" for kind, share in shares.items()))


def gpu_row(process: Process, setting: Setting, steps: int) -> str:
    if process.ask(build=asdict(setting), warm_up=FULL.warm_up) == "out of memory":
        return f"| {process.name} | out of memory | | | |"
    seconds, experts = process.ask(step=steps), process.ask(experts=steps)
    if "out of memory" in (seconds, experts):
        return f"| {process.name} | out of memory | | | |"
    step = Timing(seconds)
    rate = setting.tokens / step.median
    mfu = rate * training_flops_per_token(setting.config, setting.shape[1]) / H100_BFLOAT16_FLOPS
    alone = 1000 * statistics.median(experts)
    return f"| {process.name} | {rate:,.0f} | {step.spread:.0%} | {mfu:.1%} | {alone:.2f} |"


if __name__ == "__main__":
    main()
