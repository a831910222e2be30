"""`arctic train-quality`: a quality model from corpora that stand in a store."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from rich.console import Console

from data_recipes import RecipeError
from infra.store import Store
from pipelines.artifacts.documents import TRAIN, iter_kept, shard_paths
from pipelines.score import train_quality_model


def train_quality(store: Store, good: str, bad: str, out: Path, max_documents: int, terminal: Console) -> None:
    """Learn to tell the kept documents of corpus `good` from those of `bad` and write the model to `out`.

    Raises RecipeError where a corpus is not in the store or has too few documents.
    """
    wanted, unwanted = (list(islice(_texts(store, corpus), max_documents)) for corpus in (good, bad))
    try:
        found = train_quality_model(wanted, unwanted, out)
    except ValueError as error:
        raise RecipeError(f"corpora {good} and {bad}: {error}") from None
    terminal.print(
        f"{found.num_good:,} documents of {good} against {found.num_bad:,} of {bad}: right on "
        f"{found.heldout_accuracy:.1%} of {found.num_heldout:,} that it did not see.\n"
        f'Name it in a recipe: [score] quality_model = "{out}"',
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


def _texts(store: Store, corpus: str) -> Iterator[str]:
    artifacts = {artifact.manifest.key: artifact for artifact in store.artifacts()}
    deduped = [each for each in artifacts.values() if each.manifest.id == f"dedup[{corpus}]"]
    if not deduped:
        raise RecipeError(f"store {store.root}: no deduplicated corpus {corpus!r}. Run its recipe first.")
    latest = max(deduped, key=lambda artifact: artifact.made)
    source, filtered = (artifacts[latest.manifest.inputs[name]] for name in ("source", "filter"))
    documents = shard_paths(source.path, "documents")
    sidecars = shard_paths(filtered.path, "filtered"), shard_paths(latest.path, "decisions")
    for shard, passed, decided in zip(documents, *sidecars, strict=True):
        for batch in iter_kept(shard, passed, decided, TRAIN):
            yield from batch["text"].to_pylist()
