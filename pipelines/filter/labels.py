"""Limits on the labels that a model gave documents."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.artifacts.formats.parquet import read_table


class LabelLimit(Protocol):
    """A limit on one label; see `LabelLimitSection`."""

    @property
    def annotation(self) -> str: ...
    @property
    def field(self) -> str: ...
    @property
    def minimum(self) -> float | None: ...
    @property
    def maximum(self) -> float | None: ...
    @property
    def allowed(self) -> Sequence[str]: ...
    @property
    def keep_unlabelled(self) -> bool: ...


def reason_of(limit: LabelLimit) -> str:
    """The reason that a document has if `limit` drops it."""
    return f"{limit.annotation}.{limit.field}"


def apply_labels(
    limits: Sequence[LabelLimit], annotations: Mapping[str, Path], doc_ids: pa.ChunkedArray, reasons: np.ndarray
) -> np.ndarray:
    """`reasons` with that of the first of `limits` that drops a document, for those that have none yet.

    `annotations`: by name, the shard of annotations with the rows `doc_ids`. Raises ValueError if it has other rows.
    """
    decided = reasons.copy()
    for limit in limits:
        path = annotations[limit.annotation]
        table = read_table(path, columns=["doc_id", "labels"])
        if not table["doc_id"].equals(doc_ids):
            raise ValueError(f"{path}: rows are not those of the documents; build annotate again")
        decided[(decided == "") & _dropped(limit, table["labels"])] = reason_of(limit)
    return decided


def _dropped(limit: LabelLimit, labels: pa.ChunkedArray) -> np.ndarray:
    values = pc.struct_field(labels, limit.field)
    if limit.allowed:
        drops = pc.invert(pc.is_in(values, pa.array(limit.allowed, values.type)))
    else:
        numbers = values.cast(pa.float64()) if not pa.types.is_boolean(values.type) else values.cast(pa.int8())
        least = -np.inf if limit.minimum is None else limit.minimum
        most = np.inf if limit.maximum is None else limit.maximum
        drops = pc.or_(pc.less(numbers, least), pc.greater(numbers, most))
    # A document without a label has a null here, beyond every comparison but is_in.
    decided = pc.if_else(pc.is_null(values), not limit.keep_unlabelled, drops)
    return np.asarray(decided.to_pylist(), dtype=bool)
