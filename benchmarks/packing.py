"""Packing and encoding: fill and speed of rows; encoding against the libraries; lookup of one token among 10^8.

Lengths are log-normal with a median of 600 tokens and sigma 1.1, as of English web pages. Peers of packing, each
restated from its definition:

    first fit       documents in order, each into the first row with room
    next fit        documents in order, a new row when the last has no room
    concatenate     all documents end to end, cut every T + 1 ids: nothing is empty, documents are cut

Encoding goes from Parquet to packed shards with their index. Its peers encode texts in memory, one after the other:
`tokenizers.encode_batch_fast` and tiktoken, their ids thrown away, and datatrove's DocumentTokenizer, which writes
them. Every shard holds other texts, since ours remembers words; all use the same vocabulary.
"""

import functools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datatrove.data import Document as PeerDocument
from datatrove.pipeline.tokens import DocumentTokenizer
from harness import arguments, interleave, machine, one_core, report
from loguru import logger
from machine_text import machine_texts
from tokenizers import Tokenizer

from infra.artifact import Artifact, Manifest
from pipelines.artifacts.documents import DECISIONS, DOCUMENTS, FILTERED, Document
from pipelines.artifacts.tokenization.tokenizer import BATCH_TEXTS, TOKENIZER_FILE, TextTokenizer, read_tokenizer
from pipelines.artifacts.tokenization.tokens import TokensIndex, write_token_shard
from pipelines.lineage.tokens import find_token
from pipelines.tokenize.encode import Shard, encode_shard
from pipelines.tokenize.encoders.tiktoken import TiktokenEncoder
from pipelines.tokenize.packing import pack
from pipelines.tokenize.training_documents import KeptShard
from pipelines.tokenize.vocabulary import END, train_tokenizer, write_tokenizer

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
        rates = encoding(folder, num_texts=800 if options.quick else 9600, num_shards=2)
        memory(folder, copies=(1, 2) if options.quick else (1, 8))
        searching(folder / "search")
    print(machine("gigatoken", "tiktoken", "tokenizers", "datatrove", "pyarrow", "numpy"))
    goal = "encode, pack and write >= 60 MB/s a core with the ids of tokenizers; rows >= 99.5 % filled"
    ours = rates.pop("ours")
    report("packing", ours, rates, "MB of text per CPU second", ours / max(rates.values()), goal)


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
        # Repeated ids, of a document that continues in another row, are not counted as filling.
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


def encoding(folder: Path, num_texts: int, num_shards: int) -> dict[str, float]:
    """Median over the shards of each contender's MB/s, after a first shard that is not timed."""
    texts = machine_texts(num_texts)
    size = len(texts) // (num_shards + 1)
    shards = [texts[first : first + size] for first in range(0, size * (num_shards + 1), size)]
    (folder / "tokenizer").mkdir()
    write_tokenizer(train_tokenizer(shards[0][:400], 32_000), folder / "tokenizer")
    contenders = {
        "ours": Ours(folder, shards),
        "tokenizers.encode_batch_fast": Library(folder, shards),
        "tiktoken": Tiktoken(folder, shards),
        "datatrove DocumentTokenizer": Datatrove(folder, shards),
    }
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for number, shard in enumerate(shards):
        for name, work in contenders.items():
            started = time.process_time()
            work(number)
            rates[name].append(num_bytes(shard) / (time.process_time() - started) / 1e6)
    total = sum(map(num_bytes, shards[1:])) / 1e6
    print(f"{num_shards} shards of {size:,} texts of this machine, {total:.1f} MB, 32,000 ids, one core")
    for name, values in rates.items():
        low, high = min(values[1:]), max(values[1:])
        median = statistics.median(values[1:])
        print(f"  {name:32} {median:7.2f} MB/s ({low:.2f} to {high:.2f}); first shard, with start-up {values[0]:.2f}")
    return {name: statistics.median(values[1:]) for name, values in rates.items()}


def num_bytes(texts: list[str]) -> int:
    return sum(len(text.encode()) for text in texts)


class Ours:
    def __init__(self, folder: Path, shards: list[list[str]]) -> None:
        self._kept = [write_corpus(folder / f"corpus-{number}", texts) for number, texts in enumerate(shards)]
        self._tokenizer, self._out = folder / "tokenizer", folder / "out"
        self._out.mkdir()

    def __call__(self, number: int) -> None:
        made = encode_shard(Shard(number, self._kept[number], self._tokenizer, ROW - 1), self._out)
        assert made["encoder"] == "gigatoken" and not made["differences"]


class Library:
    def __init__(self, folder: Path, shards: list[list[str]]) -> None:
        self._file, self._shards = folder / "tokenizer" / TOKENIZER_FILE, shards
        self._tokenizer: Tokenizer | None = None

    def __call__(self, number: int) -> None:
        self._tokenizer = self._tokenizer or read_tokenizer(self._file)
        texts = self._shards[number]
        for first in range(0, len(texts), BATCH_TEXTS):
            self._tokenizer.encode_batch_fast(texts[first : first + BATCH_TEXTS], add_special_tokens=False)


class Tiktoken:
    def __init__(self, folder: Path, shards: list[list[str]]) -> None:
        self._folder, self._shards = folder / "tokenizer", shards
        self._encoder: TiktokenEncoder | None = None

    def __call__(self, number: int) -> None:
        self._encoder = self._encoder or TiktokenEncoder(TextTokenizer(self._folder))
        for text in self._shards[number]:
            self._encoder.backend.encode_ordinary(text)


class Datatrove:
    def __init__(self, folder: Path, shards: list[list[str]]) -> None:
        logger.remove()
        self._shards = shards
        file = str(folder / "tokenizer" / TOKENIZER_FILE)
        self._step = DocumentTokenizer(str(folder / "datatrove"), file, eos_token=END, shuffle_documents=False)

    def __call__(self, number: int) -> None:
        texts = self._shards[number]
        self._step.run((PeerDocument(text, f"{location}") for location, text in enumerate(texts)), rank=number)


def write_corpus(folder: Path, texts: list[str], copies: int = 1) -> KeptShard:
    """One shard of documents, all kept, in row groups of 64."""
    remaining = KeptShard(*(folder / f"{kind}.parquet" for kind in ("documents", "filtered", "decisions")))
    folder.mkdir()
    schemas = (DOCUMENTS, FILTERED, DECISIONS)
    writers = [
        pq.ParquetWriter(path, schema, compression="zstd") for path, schema in zip(remaining, schemas, strict=True)
    ]
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
    return remaining


def memory(folder: Path, copies: tuple[int, int]) -> None:
    """Peak memory of a worker that encodes a shard, and one several times as large."""
    texts = machine_texts(150)
    print("peak memory of a worker that encodes, packs and writes one shard")
    for count in copies:
        remaining = write_corpus(folder / f"memory-{count}", texts, count)
        (folder / f"out-{count}").mkdir()
        code = (
            "import sys; from pathlib import Path\n"
            "from arctic_model.peak_memory import peak_resident_bytes\n"
            "from pipelines.tokenize.encode import Shard, encode_shard\n"
            "from pipelines.tokenize.training_documents import KeptShard\n"
            "*kept, tokenizer, out = map(Path, sys.argv[1:])\n"
            f"encode_shard(Shard(0, KeptShard(*kept), tokenizer, {ROW - 1}), out)\n"
            "print(peak_resident_bytes() // 2**20)\n"
        )
        command = [sys.executable, "-c", code, *remaining, folder / "tokenizer", folder / f"out-{count}"]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        size = count * sum(len(text.encode()) for text in texts) / 1e6
        print(f"  shard of {size:6.1f} MB of text {done.stdout.strip():>6} MiB")


# ---------------------------------------------------------------- one token among 10^8


def searching(folder: Path) -> None:
    """Milliseconds from a position to document, URL and WARC record, with all files opened again each time."""
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
    """10^8 tokens in one shard of web-like documents; the ids themselves are zeros."""
    lengths = web_like(2 * TOKENS_SEARCHED // 1000)
    lengths = lengths[: int(np.searchsorted(np.cumsum(lengths), TOKENS_SEARCHED)) + 1]
    placement = pack(lengths, ROW)
    digests = np.random.default_rng(3).bytes(16 * len(lengths)).hex()
    doc_ids = pa.array([digests[32 * n : 32 * n + 32] for n in range(len(lengths))])
    taken = pa.array(placement.document)
    columns = [placement.row, placement.start, placement.length, doc_ids.take(taken), placement.doc_start, taken]
    names = ["sequence", "start", "length", "doc_id", "doc_start", "doc_row"]
    rows = (np.zeros(ROW, np.uint16) for _ in range(placement.num_rows))
    write_token_shard(rows, pa.table(columns, names=names), folder / "tokens", "train", 0)
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
