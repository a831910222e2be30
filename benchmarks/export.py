"""Memory and disk bandwidth of writing an export, against a plain copy of the checkpoint's files.

A synthetic checkpoint of 4 GB in float32 with 24 layers (0.5 GB with --quick). Each export is written by a separate
process, which watches its anonymous memory: pages of mapped files are not counted, since the system takes them back.
The copy and the exports begin with nothing of the checkpoint in memory and end when all bytes are on the disk; their
rates count both reads and writes.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from harness import arguments, machine, report
from safetensors.torch import save_file

from arctic_model import ArcticConfig
from arctic_model.checkpoint.reading import Checkpoint
from arctic_model.checkpoint.tensors.shapes import tensor_shapes
from arctic_model.export.formats import FORMATS
from arctic_model.export.weights import tensors_by_file
from pipelines.artifacts.tokenization.tokenizer import TOKENIZER_FILE, write_config
from pipelines.tokenize.vocabulary import END, train_tokenizer

CONFIG = ArcticConfig(
    vocab_size=32000,
    hidden_size=1024,
    num_layers=24,
    num_heads=16,
    num_kv_heads=4,
    num_experts=10,
    expert_size=1024,
    max_positions=4096,
)
QUICK = replace(CONFIG, num_layers=12, hidden_size=512, num_heads=8, num_kv_heads=2, expert_size=576, vocab_size=8192)
EXPORTS = (
    ("huggingface", "float32"),
    ("huggingface", "bfloat16"),
    ("fp8", "float8_e4m3"),
    ("gguf", "float32"),
    ("gguf", "float16"),
    ("gguf", "q8_0"),
)
COPY = "copy of the files"
WATCH_S = 0.002


@dataclass(frozen=True)
class Cost:
    """Of one copy or export: seconds, bytes read and written, CPU seconds, largest growth of anonymous memory."""

    seconds: float
    num_bytes: int
    cpu_s: float
    memory: int = 0

    @property
    def rate(self) -> float:
        return self.num_bytes / self.seconds


def main() -> None:
    options = arguments(__doc__.splitlines()[0])
    config = QUICK if options.quick else CONFIG
    with tempfile.TemporaryDirectory(dir=Path(__file__).parents[1]) as name:
        folder = Path(name)
        write_synthetic(config, folder / "checkpoint")
        first = copied(folder)
        exports = {f"{to} {dtype}": exported(folder, to, dtype) for to, dtype in EXPORTS}
        costs = {COPY: min(first, copied(folder), key=lambda cost: cost.seconds)} | exports
        size = folder_bytes(folder / "checkpoint")
    layer = sum(4 * numel(shape) for name, shape in tensor_shapes(config).items() if ".layers.0." in name)
    largest = max(4 * numel(shape) for shape in tensor_shapes(config).values())
    limit = 2 * layer + largest
    print(
        f"checkpoint {size / 1e9:.2f} GB, a layer {layer / 1e6:.0f} MB, two and the largest tensor {limit / 1e6:.0f} MB"
    )
    print(f"{'':28}{'MB/s':>8}{'of a copy':>11}{'CPU s a GB':>12}{'memory, MB':>12}{'of the limit':>14}")
    for each, cost in costs.items():
        shares = f"{cost.rate / costs[COPY].rate:11.0%}{cost.cpu_s / size * 1e9:12.1f}"
        shares += f"{cost.memory / 1e6:12,.0f}{cost.memory / limit:14.0%}"
        print(f"{each:28}{cost.rate / 1e6:8,.0f}{shares}")
    print(machine("torch", "safetensors", "gguf"))
    ours, copy = min(cost.rate for cost in exports.values()), costs[COPY].rate
    goal = "the slowest at least 0.7 of a copy, memory within two layers and the largest tensor"
    report("export", ours / 1e6, {COPY: copy / 1e6}, "MB/s read and written", ours / copy, goal)


def write_synthetic(config: ArcticConfig, folder: Path) -> None:
    """A Hugging Face directory of random weights, file by file, with a tokenizer."""
    folder.mkdir()
    shapes, weight_map = tensor_shapes(config), {}
    for file, names in tensors_by_file(config).items():
        save_file({name: torch.rand(shapes[name]) for name in names}, folder / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(names, file)
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    (folder / "config.json").write_text(json.dumps(config.to_huggingface()), encoding="utf-8")
    tokenizer = train_tokenizer(["a b c " * 50], 300)
    tokenizer.save(str(folder / TOKENIZER_FILE))
    write_config(tokenizer, END, folder)


def copied(folder: Path) -> Cost:
    source, out = folder / "checkpoint", folder / "out"
    forget(source)
    started, started_cpu = time.perf_counter(), time.process_time()
    shutil.copytree(source, out)
    flush(out)
    seconds, cpu_s = time.perf_counter() - started, time.process_time() - started_cpu
    num_bytes = folder_bytes(source) + folder_bytes(out)
    shutil.rmtree(out)
    return Cost(seconds, num_bytes, cpu_s)


def exported(folder: Path, to: str, dtype: str) -> Cost:
    """In a separate process."""
    out = folder / "out"
    out.mkdir()
    forget(folder / "checkpoint")
    command = [sys.executable, __file__, "--write", str(folder / "checkpoint"), str(out), to, dtype]
    answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    seconds, cpu_s, memory = json.loads(answer.splitlines()[-1])
    num_bytes = folder_bytes(folder / "checkpoint") + folder_bytes(out)
    shutil.rmtree(out)
    return Cost(seconds, num_bytes, cpu_s, memory)


def write(source: str, out: str, to: str, dtype: str) -> None:
    """Write one export, and print its seconds and memory."""
    checkpoint, folder = Checkpoint(Path(source)), Path(out)
    # Imports the modules of this format.
    FORMATS[to].write(tiny_checkpoint(folder), Path(source), new_folder(folder / "first"), dtype)
    shutil.rmtree(folder / "first")
    shutil.rmtree(folder / "tiny")
    watch = MemoryWatch()
    started, started_cpu = time.perf_counter(), time.process_time()
    FORMATS[to].write(checkpoint, Path(source), folder, dtype)
    flush(folder)
    print(json.dumps([time.perf_counter() - started, time.process_time() - started_cpu, watch.stop()]))


class MemoryWatch:
    """The largest growth of this process' anonymous memory."""

    def __init__(self) -> None:
        self._first = self._largest = anonymous_bytes()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def _watch(self) -> None:
        while not self._ended.wait(WATCH_S):
            self._largest = max(self._largest, anonymous_bytes())

    def stop(self) -> int:
        """Ends the watch."""
        self._ended.set()
        self._thread.join()
        return self._largest - self._first


def anonymous_bytes() -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("RssAnon:"):
            return 1024 * int(line.split()[1])
    raise SystemExit("this benchmark needs /proc/self/status of Linux.")


def tiny_checkpoint(folder: Path) -> Checkpoint:
    tiny = replace(QUICK, num_layers=1, num_experts=2, hidden_size=128, num_heads=2, expert_size=128, vocab_size=512)
    write_synthetic(tiny, folder / "tiny")
    return Checkpoint(folder / "tiny")


def new_folder(folder: Path) -> Path:
    folder.mkdir()
    return folder


def forget(folder: Path) -> None:
    """Have the system drop its cached pages of the files."""
    for file in folder.iterdir():
        with file.open("rb") as opened:
            os.fsync(opened.fileno())
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def flush(folder: Path) -> None:
    for file in folder.iterdir():
        with file.open("rb") as opened:
            os.fsync(opened.fileno())


def folder_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())


def numel(shape: tuple[int, ...]) -> int:
    return int(torch.Size(shape).numel())


if __name__ == "__main__":
    if sys.argv[1:2] == ["--write"]:
        write(*sys.argv[2:])
    else:
        main()
