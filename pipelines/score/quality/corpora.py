"""A quality model from the kept documents of two corpora in a store, or of one that a model labelled."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from infra.artifact import Artifact
from infra.store import Store
from pipelines.artifacts.documents import TRAIN, iter_kept, shard_paths
from pipelines.artifacts.formats.parquet import read_table
from pipelines.errors import NotInStoreError, OptionError
from pipelines.score.quality.training import TrainingReport, train_quality_model

_SELECTION = re.compile(
    r"(?P<corpus>[^:]+)(?::(?P<annotation>[a-z0-9][a-z0-9._-]*)\.(?P<field>[a-z][a-z0-9_]*)"
    r"(?P<relation>>=|<=|=)(?P<value>.+))?"
)
_RELATIONS = {">=": pc.greater_equal, "<=": pc.less_equal, "=": pc.equal}


@dataclass(frozen=True)
class Selection:
    """Kept documents of a corpus, or those with a label: "web", or "web:education.score>=4"."""

    text: str
    corpus: str
    annotation: str | None = None
    field: str = ""
    relation: str = ""
    value: str = ""

    @classmethod
    def parse(cls, text: str) -> "Selection":
        """Raises OptionError.

        >>> Selection.parse("web:education.score>=4").field
        'score'
        """
        match = _SELECTION.fullmatch(text)
        if match is None:
            raise OptionError(f"{text!r}: no selection. Give CORPUS, or CORPUS:ANNOTATION.FIELD>=VALUE (or <=, =).")
        return cls(text, **{name: value or "" for name, value in match.groupdict().items() if value})

    def has(self, labels: pa.ChunkedArray) -> pa.Array:
        """Whether each document of a shard has the label. Raises OptionError if no label can have this value."""
        try:
            values = pc.struct_field(labels, self.field)
            value: Any = float(self.value) if _is_number(values.type) else self.value
            if pa.types.is_boolean(values.type):
                value = {"true": True, "false": False}[self.value]
            return pc.fill_null(_RELATIONS[self.relation](values, pa.scalar(value)), False)
        except (KeyError, ValueError, pa.ArrowException) as error:
            raise OptionError(
                f"{self.text!r}: no such label ({error}). Name a value of the annotation's answer."
            ) from None


def train_on_corpora(store: Store, good: str, bad: str, out: Path, max_documents: int) -> TrainingReport:
    """Learn to separate the documents of selection `good` from those of `bad` and write the model to `out`.

    Raises NotInStoreError if a corpus or an annotation is not in the store, OptionError if a selection is malformed or
    has too few documents.
    """
    selections = (Selection.parse(text) for text in (good, bad))
    good_texts, bad_texts = (list(islice(_texts(store, each), max_documents)) for each in selections)
    try:
        return train_quality_model(good_texts, bad_texts, out)
    except ValueError as error:
        raise OptionError(f"corpora {good} and {bad}: {error}") from None


def _texts(store: Store, selection: Selection) -> Iterator[str]:
    artifacts = {artifact.manifest.key: artifact for artifact in store.artifacts()}
    deduped = [each for each in artifacts.values() if each.manifest.id == f"dedup[{selection.corpus}]"]
    if not deduped:
        raise NotInStoreError(f"store {store.root}: no deduplicated corpus {selection.corpus!r}. Run its recipe first.")
    latest = max(deduped, key=lambda artifact: artifact.made)
    source, filtered = (artifacts[latest.manifest.inputs[name]] for name in ("source", "filter"))
    documents = shard_paths(source.path, "documents")
    sidecars = shard_paths(filtered.path, "filtered"), shard_paths(latest.path, "decisions")
    labelled = _labelled(store, artifacts, source, selection)
    for shard, passed, decided in zip(documents, *sidecars, strict=True):
        labelled_ids = labelled and pa.array(_labelled_ids(labelled / shard.name, selection))
        for batch in iter_kept(shard, passed, decided, TRAIN):
            texts = batch if labelled_ids is None else batch.filter(pc.is_in(batch["doc_id"], labelled_ids))
            yield from texts["text"].to_pylist()


def _labelled(store: Store, artifacts: Mapping[str, Artifact], source: Artifact, selection: Selection) -> Path | None:
    """Folder with the labels of the documents of `source`; None if the selection needs none."""
    if selection.annotation is None:
        return None
    stage_id = f"annotate[{selection.corpus}.{selection.annotation}]"
    made = [each for each in artifacts.values() if each.manifest.id == stage_id]
    made = [each for each in made if each.manifest.inputs["source"] == source.manifest.key]
    if not made:
        raise NotInStoreError(f"store {store.root}: no {stage_id} of these documents. Run the corpus' recipe first.")
    return max(made, key=lambda artifact: artifact.made).path / "annotations"


def _labelled_ids(path: Path, selection: Selection) -> list[str]:
    table = read_table(path, columns=["doc_id", "labels"])
    ids: list[str] = table["doc_id"].filter(selection.has(table["labels"])).to_pylist()
    return ids


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))
