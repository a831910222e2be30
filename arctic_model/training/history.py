"""The record of every step, kept beside the checkpoints and exactly as long as the newest of them."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

OpenRecord = dict[str, Any]
Record = Mapping[str, Any]
"""One step: what it came to, which is the same whenever it is trained (the loop's own columns; `loss_by_corpus` and
`tokens_by_corpus` are by corpus, `router_layers` by figure, one value a layer), and what it cost on this machine
(`telemetry`)."""


def append(file: Path, records: Sequence[Record]) -> None:
    """Add steps, flushed to disk before the checkpoint that they lead to is committed."""
    with file.open("a", encoding="utf-8") as stream:
        stream.writelines(json.dumps(record) + "\n" for record in records)
        stream.flush()
        os.fsync(stream.fileno())


def read(file: Path, last_step: int) -> list[Record]:
    """Steps up to `last_step`; what a killed attempt wrote beyond it, or half wrote, is left out."""
    if not file.is_file():
        return []
    records = []
    for line in file.read_text(encoding="utf-8").splitlines():
        record = json.loads(line) if line.endswith("}") else {"step": last_step + 1}
        if record["step"] > last_step:
            break
        records.append(record)
    return records


def truncate(file: Path, last_step: int) -> list[Record]:
    """Cut the file after `last_step`. Returns what stays."""
    records = read(file, last_step)
    partial = file.with_name(f".{file.name}")
    partial.unlink(missing_ok=True)
    append(partial, records)
    partial.rename(file)
    return records
