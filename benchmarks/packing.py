"""Packing and encoding: how full rows are and how fast they are made; encoding against the library alone; one token
found among 10^8.

Lengths are log-normal with a median of 600 tokens and sigma 1.1, as of English web pages. Peers of packing, each
restated from its definition:

    first fit       documents in order, each into the first row with room
    next fit        documents in order, a new row where the last has no room
    concatenate     all documents end to end, cut every T + 1 ids: nothing is empty, documents are cut

The peer of encoding is `tokenizers.encode_batch_fast` on the same batches, its result thrown away.
"""

import functools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from harness import arguments, interleave, machine, one_core, report
from machine_text import machine_texts

from infra.artifact import Artifact, Manifest
from pipelines.artifacts.documents import DECISIONS, DOCUMENTS, FILTERED, Document
from pipelines.artifacts.tokenizer import BATCH_TEXTS, TOKENIZER_FILE, read_tokenizer, write_config
from pipelines.artifacts.tokens import TokensIndex, write_token_shard
from pipelines.lineage.tokens import find_token
from pipelines.tokenize.encode import Shard, encode_shard
from pipelines.tokenize.packing import pack
from pipelines.tokenize.training_documents import KeptShard
from pipelines.tokenize.vocabulary import END, train_tokenizer

ROW = 4097
MEDIAN, SIGMA = 600, 1.1
TOKENS_SEARCHED = 10**8


def main() -> None:
    options = arguments(__doc__.splitlines()[0])
    one_core()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    packing(num_documents=5_000 if options.quick else 50_000, repeats=3 if options.quick else 5)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ratio, ours, library = encoding(folder, num_texts=150 if options.quick else 600, repeats=3)
        memory(folder, copies=(1, 2) if options.quick else (1, 8))
        searching(folder / "search")
    print(machine("tokenizers", "pyarrow", "numpy"))
    goal = "encode, pack and write one shard at >= 90 % of the library's own batch speed; rows >= 99.5 % filled"
    report("packing", ours, {"tokenizers.encode_batch_fast": library}, "tokens per CPU second", ratio, goal)


# ---------------------------------------------------------------- packing


def packing(num_documents: int, repeats: int) -> None:
    """How full rows are, how many documents are cut, and documents per CPU second."""
    lengths = web_like(num_documents)
    contenders: dict[str, Callable[[np.ndarray], tuple[int, int]]] = {
        "best fit, longest first (ours)": best_fit,
        "first fit in order": first_fit,
        "next fit in order": next_fit,
        "concatenate and cut": concatenate,
    }
    timings = interleave({name: functools.partial(work, lengths) for name, work in contenders.items()}, repeats)
    print(f"{num_documents:,} documents, {lengths.sum():,} tokens, rows of {ROW:,}")
    for name, work in contenders.items():
        rows, cut = work(lengths)
        # Ids that stand twice, where a document goes on in another row, are not counted as filling.
        print(
            f"  {name:32} {lengths.sum() / (rows * ROW):8.3%} filled, {cut / num_documents:7.2%} documents cut, "
            f"{num_documents / timings[name].median:11,.0f} documents/s (spread {timings[name].spread:.0%})"
        )


def web_like(num_documents: int) -> np.ndarray:
    return np.random.default_rng(0).lognormal(np.log(MEDIAN), SIGMA, num_documents).astype(np.int64) + 2


def best_fit(lengths: np.ndarray) -> tuple[int, int]:
    """(rows, documents in more than one piece)"""
    placement = pack(lengths, ROW)
    return placement.num_rows, len(np.unique(placement.document[placement.doc_start > 0]))


def first_fit(lengths: np.ndarray) -> tuple[int, int]:
    """With a tournament tree over the free space of rows: O(log rows) a document."""
    pieces = in_order(lengths)
    size = 1 << (len(pieces) - 1).bit_length()
    free = [ROW] * (2 * size)
    used = 0
    for length in pieces:
        node = 1
        while node < size:
            node *= 2
            if free[node] < length:
                node += 1
        used = max(used, node - size + 1)
        free[node] -= length
        while node > 1:
            node //= 2
            free[node] = max(free[2 * node], free[2 * node + 1])
    return used, int((lengths > ROW).sum())


def next_fit(lengths: np.ndarray) -> tuple[int, int]:
    rows, room = 0, 0
    for length in in_order(lengths):
        if length > room:
            rows, room = rows + 1, ROW
        room -= length
    return rows, int((lengths > ROW).sum())


def concatenate(lengths: np.ndarray) -> tuple[int, int]:
    ends = np.cumsum(lengths)
    return int(-(-ends[-1] // ROW)), int(((ends - lengths) // ROW != (ends - 1) // ROW).sum())


def in_order(lengths: np.ndarray) -> list[int]:
    """Pieces of at most a row."""
    return [min(ROW, length - first) for length in lengths.tolist() for first in range(0, length, ROW)]


# ---------------------------------------------------------------- encoding


def encoding(folder: Path, num_texts: int, repeats: int) -> tuple[float, float, float]:
    """(ratio, our tokens per CPU second, the library's)"""
    texts = machine_texts(num_texts)
    (folder / "tokenizer").mkdir()
    trained = train_tokenizer(texts[:200], 8192)
    trained.save(str(folder / "tokenizer" / TOKENIZER_FILE))
    write_config(trained, END, folder / "tokenizer")
    kept = write_corpus(folder / "corpus", texts)
    (folder / "out").mkdir()
    counts = {}

    def ours() -> None:
        counts.update(encode_shard(Shard(0, kept, folder / "tokenizer", ROW - 1), folder / "out")["train"])

    def library() -> None:
        # Read anew, as a worker does: the library keeps the words that it has seen.
        tokenizer = read_tokenizer(folder / "tokenizer" / TOKENIZER_FILE)
        for first in range(0, len(texts), BATCH_TEXTS):
            tokenizer.encode_batch_fast(texts[first : first + BATCH_TEXTS], add_special_tokens=False)

    timings = interleave({"ours": ours, "library": library}, repeats)
    num_bytes = sum(len(text.encode()) for text in texts)
    print(f"{len(texts):,} texts of this machine, {num_bytes / 1e6:.1f} MB, {counts['tokens']:,} tokens, one core")
    for name, timing in timings.items():
        rate = f"{counts['tokens'] / timing.median:9,.0f} tokens/s, {num_bytes / timing.median / 1e6:.2f} MB/s"
        print(f"  {name:32} {rate} (spread {timing.spread:.0%})")
    ratio = timings["library"].median / timings["ours"].median
    print(f"  ours from Parquet to packed shard: {ratio:.1%} of the library's speed")
    return ratio, counts["tokens"] / timings["ours"].median, counts["tokens"] / timings["library"].median


def write_corpus(folder: Path, texts: list[str], copies: int = 1) -> KeptShard:
    """One shard of documents, all kept, in row groups of 64."""
    kept = KeptShard(*(folder / f"{kind}.parquet" for kind in ("documents", "filtered", "decisions")))
    folder.mkdir()
    schemas = (DOCUMENTS, FILTERED, DECISIONS)
    writers = [pq.ParquetWriter(path, schema, compression="zstd") for path, schema in zip(kept, schemas, strict=True)]
    for copy in range(copies):
        for first in range(0, len(texts), 64):
            documents = [
                Document(text, f"{copy}/{number}", "machine")
                for number, text in enumerate(texts[first : first + 64], start=first)
            ]
            rows = [{"doc_id": item.doc_id, "keep": True, "reason": "", "cluster_size": 1} for item in documents]
            filtered = [{**row, "quality": 0.0, "redactions": []} for row in rows]
            provenance = [{"doc_id": item.doc_id, **vars(item)} for item in documents]
            for writer, table in zip(writers, (provenance, filtered, rows), strict=True):
                writer.write_table(pa.Table.from_pylist(table, schema=writer.schema))
    for writer in writers:
        writer.close()
    return kept


def memory(folder: Path, copies: tuple[int, int]) -> None:
    """Peak memory of a worker that encodes a shard, and one several times as large."""
    texts = machine_texts(150)
    print("peak memory of a worker that encodes, packs and writes one shard")
    for count in copies:
        kept = write_corpus(folder / f"corpus-{count}", texts, count)
        (folder / f"out-{count}").mkdir()
        code = (
            "import resource, sys; from pathlib import Path\n"
            "from pipelines.tokenize.encode import Shard, encode_shard\n"
            "from pipelines.tokenize.training_documents import KeptShard\n"
            "*kept, tokenizer, out = map(Path, sys.argv[1:])\n"
            f"encode_shard(Shard(0, KeptShard(*kept), tokenizer, {ROW - 1}), out)\n"
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)\n"
        )
        command = [sys.executable, "-c", code, *kept, folder / "tokenizer", folder / f"out-{count}"]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        size = count * sum(len(text.encode()) for text in texts) / 1e6
        print(f"  shard of {size:6.1f} MB of text {done.stdout.strip():>6} MiB")


# ---------------------------------------------------------------- one token among 10^8


def searching(folder: Path) -> None:
    """Milliseconds from a position to document, URL and WARC record, everything opened anew each time."""
    artifacts = one_large_corpus(folder)
    for position in np.random.default_rng(1).integers(0, TOKENS_SEARCHED, 3).tolist():
        find_token(artifacts, "web", position)
    seconds = []
    for position in np.random.default_rng(2).integers(0, TOKENS_SEARCHED, 30).tolist():
        started = time.perf_counter()
        find_token(artifacts, "web", position)
        seconds.append(time.perf_counter() - started)
    print(
        f"show token among {TOKENS_SEARCHED:,}: median {1000 * np.median(seconds):.1f} ms, "
        f"worst of {len(seconds)} {1000 * max(seconds):.1f} ms"
    )


def one_large_corpus(folder: Path) -> list[Artifact]:
    """10^8 tokens in one shard of web-like documents; the ids themselves are a sparse file."""
    lengths = web_like(2 * TOKENS_SEARCHED // 1000)
    lengths = lengths[: int(np.searchsorted(np.cumsum(lengths), TOKENS_SEARCHED)) + 1]
    placement = pack(lengths, ROW)
    digests = np.random.default_rng(3).bytes(16 * len(lengths)).hex()
    doc_ids = pa.array([digests[32 * n : 32 * n + 32] for n in range(len(lengths))])
    taken = pa.array(placement.document)
    columns = [placement.row, placement.start, placement.length, doc_ids.take(taken), placement.doc_start, taken]
    names = ["sequence", "start", "length", "doc_id", "doc_start", "doc_row"]
    write_token_shard([], pa.table(columns, names=names), folder / "tokens", "train", 0)
    with (folder / "tokens" / "train" / "00000.bin").open("r+b") as file:
        file.truncate(placement.num_rows * ROW * 2)
    TokensIndex(ROW - 1, "uint16", 8192, 0, 1, {"train": [placement.num_rows]}, {}, {}).write(folder / "tokens")
    numbers = range(len(lengths))
    made = {
        "doc_id": doc_ids,
        "url": [f"https://example.org/a/rather/long/path/to/page/{number}.html" for number in numbers],
        "origin": [f"CC-MAIN-2026-{number // 30_000:05d}.warc.gz" for number in numbers],
        "offset": pa.array(np.arange(len(lengths)) * 10_000),
        "length": pa.array(np.full(len(lengths), 9_000)),
        "text": ["Some words of a page, and more. " * 20] * len(lengths),
    }
    nothing = {field.name: pa.nulls(len(lengths), field.type) for field in DOCUMENTS if field.nullable}
    blank = {field.name: [""] * len(lengths) for field in DOCUMENTS if not field.nullable}
    columns_by_name = nothing | blank | made
    documents = pa.table([columns_by_name[name] for name in DOCUMENTS.names], names=DOCUMENTS.names).cast(DOCUMENTS)
    (folder / "source" / "documents").mkdir(parents=True)
    file = folder / "source" / "documents" / "00000.parquet"
    pq.write_table(documents, file, compression="zstd", row_group_size=8192)
    return [
        artifact(folder / "source", "source", "source-key"),
        artifact(folder / "tokens", "tokenize", "tokens-key", source="source-key"),
    ]


def artifact(path: Path, name: str, key: str, **inputs: str) -> Artifact:
    return Artifact(path, Manifest(f"{name}[web]", name, "web", key, 2, {}, inputs, (), {}, (), 0.0, {}))


if __name__ == "__main__":
    main()
