"""The history: a record of every step up to the newest checkpoint in the same folder."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

OpenRecord = dict[str, Any]
Record = Mapping[str, Any]
"""One step: results that are the same on any machine (columns of the loop; `loss_by_corpus` and `tokens_by_corpus` by
corpus, `router_layers` by statistic with one value per layer), and its cost on this machine (`telemetry`)."""


def append(file: Path, records: Sequence[Record]) -> None:
    """Add steps, flushed to disk before their checkpoint is committed."""
    with file.open("a", encoding="utf-8") as stream:
        stream.writelines(json.dumps(record) + "\n" for record in records)
        stream.flush()
        os.fsync(stream.fileno())


def read(file: Path, last_step: int) -> list[Record]:
    """Records up to `last_step`, without later or incomplete lines of a killed attempt."""
    if not file.is_file():
        return []
    records = []
    for line in file.read_text(encoding="utf-8").splitlines(keepends=True):
        record = json.loads(line) if line.endswith("\n") else {"step": last_step + 1}
        if record["step"] > last_step:
            break
        records.append(record)
    return records


def truncate(file: Path, last_step: int) -> list[Record]:
    """Cut the file after `last_step`. Returns the remaining records."""
    records = read(file, last_step)
    partial = file.with_name(f".{file.name}")
    partial.unlink(missing_ok=True)
    append(partial, records)
    partial.rename(file)
    return records
