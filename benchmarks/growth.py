"""How the CPU time of deduplication, mixing and tracking grows with their input: at 1x, 2x and 4x, and the exponent.

python benchmarks/growth.py [--quick]

An exponent of 1 is time in proportion to the input, 2 is its square. Inputs are those that could tempt an algorithm:
one family of near duplicates, pages that share a frame, one long document, many corpora and phases, many points.
"""

import json
import math
import random
import tempfile
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

import numpy as np
from harness import arguments, machine, one_core, report
from planted import run_stage, substitute, write_corpus, write_shards

from data_recipes.schema import DedupSection
from infra.events import EVENTS
from infra.tracking import catch_up, tracking_uri
from infra.tracking.cursor import CURSOR
from pipelines.artifacts.conversations import ASSISTANT, USER, Conversation, Turn
from pipelines.artifacts.documents import Document
from pipelines.artifacts.sequence_order.phase_plan import CorpusShare, PhasePlan
from pipelines.mix.weighting import summed_copies

GOAL = 1.15
STEPS = (1, 2, 4)
SIZE = 400
FULL_BUCKET = 10
"""`max_bucket` that pages with one frame reach here: below it, each page is compared with each."""
CHAT_SHARDS = 25
NO_MODEL = {"model_output": "", "model_input": "", "model_key": "", "step_metric": ""}
Work = Callable[[], object]
Case = Callable[[int, Path], Work]
"""Makes an input that is so many times as large, in an empty folder, and returns the work on it."""


def words(number: int, draw: random.Random) -> str:
    return " ".join(f"{draw.choice('bcdfgklmnprst')}{draw.randrange(4000)}" for _ in range(number))


def independent(times: int, folder: Path) -> Work:
    draw = random.Random(1)
    return deduplicated([words(200, draw) for _ in range(SIZE * times)], folder)


def one_family(times: int, folder: Path) -> Work:
    draw = random.Random(2)
    first = words(200, draw)
    return deduplicated([substitute(first, draw) for _ in range(SIZE * times)], folder)


def one_frame(times: int, folder: Path) -> Work:
    draw = random.Random(3)
    frame = words(300, draw)
    return deduplicated([f"{frame} {words(45, draw)}" for _ in range(SIZE * times)], folder, FULL_BUCKET)


def one_document(times: int, folder: Path) -> Work:
    draw = random.Random(4)
    return deduplicated([words(200 * SIZE * times, draw), "-" * (1000 * SIZE * times)], folder)


def first_prompts(times: int, folder: Path) -> Work:
    """More shards of as many conversations, each prompt twice."""
    draw = random.Random(6)
    prompts = [words(20, draw) for _ in range(SIZE * times // 2)] * 2
    chats = [Conversation((Turn(USER, prompt), Turn(ASSISTANT, words(60, draw)))) for prompt in prompts]
    documents = [
        Document(chat.text, f"chat/{number}", "growth", attributes=chat.attributes) for number, chat in enumerate(chats)
    ]
    write_shards(documents, folder, CHAT_SHARDS * times)
    return staged(folder, DedupSection(first_prompts=True))


def deduplicated(texts: list[str], folder: Path, max_bucket: int = 1000) -> Work:
    write_corpus(texts, folder, 2)
    return staged(folder, DedupSection(max_bucket=max_bucket))


def staged(folder: Path, section: DedupSection) -> Work:
    numbers = count()
    return lambda: run_stage(folder, folder / f"run-{next(numbers)}", section)


def many_sequences(times: int, folder: Path) -> Work:
    shares = tuple(CorpusShare(f"corpus-{n}", 500 * SIZE * times, 0, 175 * SIZE * times) for n in range(4))
    return lambda: whole_order(shares)


def many_corpora(times: int, folder: Path) -> Work:
    """The same number of sequences, of more corpora."""
    shares = tuple(CorpusShare(f"corpus-{n:04d}", 64_000 // times, 0, 1500) for n in range(SIZE // 40 * times))
    return lambda: whole_order(shares)


def whole_order(shares: tuple[CorpusShare, ...]) -> None:
    plan = PhasePlan.of("phase", 512, 1, shares)
    plan.sequences(0, plan.num_sequences)


def many_copies(times: int, folder: Path) -> Work:
    draw = np.random.default_rng(5)
    expected, quality = draw.uniform(1, 4, 1000 * SIZE * times), draw.uniform(0, 1, 1000 * SIZE * times)
    return lambda: summed_copies(expected, quality, 2.0)


def many_points(times: int, folder: Path) -> Work:
    """One training that reports every step."""
    points = [[[step, {"loss": 2.0, "lr": 1e-3, "tokens_per_s": 1e5}]] for step in range(2 * SIZE * times)]
    return sent(folder, ["train"], [("train", each) for each in points])


def many_stages(times: int, folder: Path) -> Work:
    names = [f"source{number}" for number in range(SIZE // 40 * times)]
    return sent(folder, names, [(name, [[1, {"documents": 1.0}]]) for name in names])


def many_runs(times: int, folder: Path) -> Work:
    """Runs of one store of which MLflow has everything: what each new run and `arctic ui` look through."""
    for number in range(SIZE // 4 * times):
        write_log(folder / "runs" / f"run-{number:05d}", ["train"], [("train", [[1, {"loss": 2.0}]])])
        cursor = {"uri": tracking_uri(folder), "offset": 0, "runs": {}, "curves": {}}
        log = folder / "runs" / f"run-{number:05d}" / EVENTS
        (log.parent / CURSOR).write_text(json.dumps(cursor | {"offset": log.stat().st_size}), encoding="utf-8")
    return lambda: catch_up(folder)


def sent(folder: Path, names: list[str], reported: list[tuple[str, list[object]]]) -> Work:
    """MLflow filled in from the log of a run, from its beginning."""
    numbers = count()

    def send() -> None:
        store = folder / f"store-{next(numbers)}"
        write_log(store / "runs" / "run", names, reported)
        catch_up(store)

    return send


def write_log(folder: Path, names: list[str], reported: list[tuple[str, list[object]]]) -> None:
    """The event log of a run with these stages and their points."""
    stages = [{"id": name, "name": name, "subject": "", "key": f"{number:012x}"} for number, name in enumerate(names)]
    planned = [{**stage, "action": "build", "reason": "never built", "inputs": {}, **NO_MODEL} for stage in stages]
    identity = {"run_id": folder.name, "name": "growth", "recipe": {"run": {"name": "growth"}, "fingerprints": {}}}
    events = [{"event": "run_started", **identity, "stages": planned, "provenance": {}}]
    events += [
        {"event": "stage_started", **stage, "stage": stage["id"], "attempt": 1, "params": {"seed": 1}}
        for stage in stages
    ]
    events += [{"event": "metrics", "stage": name, "points": points} for name, points in reported]
    events += [{"event": "run_finished", "status": "finished", "seconds": 1.0}]
    folder.mkdir(parents=True)
    lines = (json.dumps({"time": 1.8e9 + number, **event}) + "\n" for number, event in enumerate(events))
    (folder / EVENTS).write_text("".join(lines), encoding="utf-8")


CASES: dict[str, Case] = {
    "dedup: documents that differ": independent,
    "dedup: one family of near duplicates": one_family,
    "dedup: pages with one frame, buckets full": one_frame,
    "dedup: one long document, one long run": one_document,
    "dedup: shards of conversations, first prompts": first_prompts,
    "mix: sequences": many_sequences,
    "mix: as many sequences of more corpora": many_corpora,
    "mix: copies by quality": many_copies,
    "tracker: points of one stage": many_points,
    "tracker: stages": many_stages,
    "tracker: runs of a store": many_runs,
}


def main() -> None:
    one_core()
    repeats = 1 if arguments(__doc__.splitlines()[0]).quick else 3
    print(machine("numpy", "numba", "mlflow"))
    print("CPU seconds on one core, the fastest of", repeats, "after an untimed one\n")
    print("| input | 1x | 2x | 4x | exponent |\n|---|---|---|---|---|")
    exponents = {}
    for name, case in CASES.items():
        seconds = measured(case, repeats)
        exponents[name] = math.log(seconds[-1] / seconds[0]) / math.log(STEPS[-1])
        cells = " | ".join(f"{each:.3f}" for each in seconds)
        print(f"| {name} | {cells} | {exponents[name]:.2f} |", flush=True)
    worst = max(exponents, key=exponents.__getitem__)
    report("growth", exponents[worst], {}, f"exponent of {worst}", exponents[worst] / GOAL, f"at most {GOAL} each")


def measured(case: Case, repeats: int) -> list[float]:
    """CPU seconds at each size; the sizes take turns, so that a busy machine is busy for all of them."""
    with tempfile.TemporaryDirectory() as folder:
        works = [case(times, new_folder(Path(folder) / str(times))) for times in STEPS]
        best = [math.inf] * len(works)
        for turn in range(repeats + 1):
            for index, work in enumerate(works):
                started = time.process_time()
                work()
                if turn:
                    best[index] = min(best[index], time.process_time() - started)
        return best


def new_folder(folder: Path) -> Path:
    folder.mkdir()
    return folder


if __name__ == "__main__":
    main()
