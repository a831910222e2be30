"""A quality model from the kept documents of two corpora in a store."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from infra.store import Store
from pipelines.artifacts.documents import TRAIN, iter_kept, shard_paths
from pipelines.errors import NotInStoreError, OptionError
from pipelines.score.quality.training import TrainingReport, train_quality_model


def train_on_corpora(store: Store, good: str, bad: str, out: Path, max_documents: int) -> TrainingReport:
    """Learn to tell the kept documents of corpus `good` from those of `bad` and write the model to `out`.

    Raises NotInStoreError if a corpus is not in the store, OptionError if it has too few documents.
    """
    good_texts, bad_texts = (list(islice(_texts(store, corpus), max_documents)) for corpus in (good, bad))
    try:
        return train_quality_model(good_texts, bad_texts, out)
    except ValueError as error:
        raise OptionError(f"corpora {good} and {bad}: {error}") from None


def _texts(store: Store, corpus: str) -> Iterator[str]:
    artifacts = {artifact.manifest.key: artifact for artifact in store.artifacts()}
    deduped = [each for each in artifacts.values() if each.manifest.id == f"dedup[{corpus}]"]
    if not deduped:
        raise NotInStoreError(f"store {store.root}: no deduplicated corpus {corpus!r}. Run its recipe first.")
    latest = max(deduped, key=lambda artifact: artifact.made)
    source, filtered = (artifacts[latest.manifest.inputs[name]] for name in ("source", "filter"))
    documents = shard_paths(source.path, "documents")
    sidecars = shard_paths(filtered.path, "filtered"), shard_paths(latest.path, "decisions")
    for shard, passed, decided in zip(documents, *sidecars, strict=True):
        for batch in iter_kept(shard, passed, decided, TRAIN):
            yield from batch["text"].to_pylist()
