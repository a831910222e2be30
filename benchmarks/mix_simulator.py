"""The simulator: twelve corpora and a million steps, compile time and imports included, and entry at step a million.

python benchmarks/mix_simulator.py [--quick]
"""

import subprocess
import sys
import time

from harness import arguments, machine, one_core, report

GOAL = "12 corpora x 10^6 steps in at most 2 s; entry at step 10^6 in at most 0.05 s"
WEIGHTS = (0.5, 0.2, 0.1, 0.05, 0.05, 0.04, 0.03, 0.02, 0.005, 0.003, 0.0019, 0.0001)
STEPS, BATCH, T = 1_000_003, 512, 4096


def recipe(kind: str, per_step: int) -> object:
    """A run of a million steps over twelve corpora, with weights that stay ("steps") or move ("drift")."""
    from data_recipes.schema import RunRecipe

    names = [f"corpus_{number:02d}" for number in range(12)]
    phase = {"name": "long", "tokens": STEPS * per_step * T, "weights": dict(zip(names, WEIGHTS, strict=True))}
    if kind == "drift":
        phase["weights_to"] = dict(zip(names, (*WEIGHTS[3:], *WEIGHTS[:3]), strict=True))
    page = {"name": "bench", "description": "", "corpora": ["a.toml"], "phases": [phase], "model": {"preset": "tiny"}}
    page |= {"tokenizer": {"vocab_size": 300, "sample_bytes_per_corpus": 1}, "tokenize": {"sequence_length": T}}
    page |= {"train": {"global_batch_sequences": per_step, "micro_batch_sequences": 1, "peak_lr": 1.0}}
    return RunRecipe.model_validate(page | {"evaluate": {"heldout_bytes_per_corpus": 1}})


def measure(what: str, kind: str) -> float:
    """CPU seconds of a fresh process, without the start of Python."""
    started = time.process_time()
    from pipelines.mix.from_recipe import simulate

    per_step = BATCH if what == "table" else 1
    available = {
        f"corpus_{number:02d}": int(STEPS * per_step * weight / 1.5) + 1 for number, weight in enumerate(WEIGHTS)
    }
    ((phase, _),) = simulate(recipe(kind, per_step), available).phases
    if what == "table":
        return time.process_time() - started
    plan = phase.plan
    if what == "list":
        plan.sequences(0, plan.num_sequences)
    if what in ("order", "list"):
        return time.process_time() - started
    started = time.process_time()
    plan.sequences(1_000_000, 1)
    return time.process_time() - started


def main() -> None:
    if len(sys.argv) == 3:
        print(measure(*sys.argv[1:]))
        return
    repeats = 3 if arguments(__doc__.splitlines()[0]).quick else 7
    one_core()
    cases = {
        "simulate 10^6 steps of 512": "table",
        "simulate 10^6 steps of 1, and walk their order": "order",
        "the same, and list every sequence": "list",
        "enter at step 10^6 of 1": "entry",
    }
    print(machine("numpy", "pydantic"))
    print(f"12 corpora, CPU seconds of a fresh process each with its imports, median and largest of {repeats}\n")
    print("| | weights that stay | largest | weights that move | largest |\n|---|---|---|---|---|")
    worst = {}
    for title, what in cases.items():
        seconds = {kind: sorted(fresh(what, kind) for _ in range(repeats)) for kind in ("stay", "drift")}
        cells = " | ".join(f"{result[repeats // 2]:.4f} | {result[-1]:.4f}" for result in seconds.values())
        print(f"| {title} | {cells} |")
        worst[title] = max(result[repeats // 2] for result in seconds.values())
    simulated = max(seconds for title, seconds in worst.items() if title.startswith("simulate"))
    report("mix_simulator", simulated, {}, "CPU seconds", 2.0 / simulated, GOAL)


def fresh(what: str, kind: str) -> float:
    command = [sys.executable, __file__, what, kind]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


if __name__ == "__main__":
    main()
