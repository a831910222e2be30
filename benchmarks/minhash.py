"""Signatures: texts in, 128 MinHash values out, on one core. Ours against datasketch, rensa, datatrove, text-dedup.

python benchmarks/minhash.py [--quick]
"""

import pyarrow as pa
from dedup_peers import datasketch_bulk, datatrove_signer, rensa_matrix, text_dedup_embed
from harness import arguments, interleave, machine, one_core, report
from machine_text import machine_texts

from pipelines.dedup.minhash import portions, shingle, signatures

GOAL = "30 x datasketch bulk and 10 x rensa"


def ours(texts: pa.LargeStringArray) -> None:
    for start, stop in portions(texts):
        signatures(shingle(texts.slice(start, stop - start), 5), 128, 1)


def main() -> None:
    quick = arguments(__doc__.splitlines()[0]).quick
    one_core()
    texts = machine_texts(300 if quick else 1500)
    # Enough copies for ours to make its time comparable with the others'.
    copies = 20
    table = pa.array(texts * copies, pa.large_string())
    megabytes = sum(len(text.encode()) for text in texts) / 1e6
    signer = datatrove_signer()
    contenders = {
        "ours": lambda: ours(table),
        "datasketch bulk": lambda: datasketch_bulk(texts),
        "rensa R-MinHash": lambda: rensa_matrix(texts),
        "text-dedup embed": lambda: text_dedup_embed(texts),
        "datatrove stage 1": lambda: [signer.get_signature(signer.get_shingles(text)) for text in texts],
    }
    timings = interleave(contenders, 3 if quick else 5)
    rates = {name: megabytes * (copies if name == "ours" else 1) / timing.median for name, timing in timings.items()}
    print(machine("datasketch", "rensa", "datatrove", "numba"))
    print(f"{len(texts)} documents, {megabytes:.1f} MB, CPU time on one core, median of {3 if quick else 5}\n")
    print("| contender | MB/s | documents/s | x datasketch bulk | spread |\n|---|---|---|---|---|")
    for name, rate in rates.items():
        relative = rate / rates["datasketch bulk"]
        documents = rate / megabytes * len(texts)
        print(f"| {name} | {rate:.2f} | {documents:,.0f} | {relative:.2f} | {timings[name].spread:.0%} |")
    print(f"\nours is {rates['ours'] / rates['rensa R-MinHash']:.1f} x rensa")
    peers = {name: rate for name, rate in rates.items() if name != "ours"}
    report("minhash", rates["ours"], peers, "MB/s per core", rates["ours"] / rates["datasketch bulk"], GOAL)


if __name__ == "__main__":
    main()
