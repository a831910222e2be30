"""The whole of deduplication on one core, Parquet in to keep decisions out, against datatrove's four stages.

python benchmarks/dedup_stage.py [--quick]
"""

import itertools
import shutil
import tempfile
from pathlib import Path

from dedup_peers import datatrove_kept
from harness import arguments, interleave, machine, one_core, report
from machine_text import machine_texts
from planted import planted, run_stage, write_corpus

from data_recipes.schema import DedupSection

GOAL = "at least 40 MB/s per core and 20 x datatrove's four stages"


def main() -> None:
    quick = arguments(__doc__.splitlines()[0]).quick
    one_core()
    repeats = 3 if quick else 5
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        texts = planted(machine_texts(300 if quick else 2000))
        large = planted(machine_texts(1000 if quick else 12_000), seed=1)
        write_corpus(texts, home / "small", 1)
        write_corpus(large, home / "large", 2 if quick else 8)
        numbers = itertools.count()

        def ours(name: str) -> None:
            work = home / f"{next(numbers)}"
            run_stage(home / name, work, DedupSection())
            shutil.rmtree(work)

        def datatrove() -> None:
            work = home / f"{next(numbers)}"
            datatrove_kept(home / "small" / "documents", work)
            shutil.rmtree(work)

        contenders = {"ours": lambda: ours("small"), "datatrove": datatrove, "ours, larger": lambda: ours("large")}
        timings = interleave(contenders, repeats)
    sizes = {"ours": texts, "datatrove": texts, "ours, larger": large}
    print(machine("datatrove", "numba", "pyarrow"))
    print(f"CPU time on one core, median of {repeats}; three in ten documents have near duplicates\n")
    print("| contender | documents | MB | MB/s | spread |\n|---|---|---|---|---|")
    rates = {}
    for name, timing in timings.items():
        megabytes = sum(len(text.encode()) for text in sizes[name]) / 1e6
        rates[name] = megabytes / timing.median
        print(f"| {name} | {len(sizes[name]):,} | {megabytes:.1f} | {rates[name]:.2f} | {timing.spread:.0%} |")
    ratio = rates["ours"] / rates["datatrove"]
    print(f"\nours is {ratio:.1f} x datatrove on the same documents")
    peers = {"datatrove": rates["datatrove"], "ours on fewer documents": rates["ours"]}
    report("dedup_stage", rates["ours, larger"], peers, "MB/s per core", ratio, GOAL)


if __name__ == "__main__":
    main()
