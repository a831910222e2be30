"""Items that occur in the training corpora, from the findings of `score`.

`score` looks for the evaluation files that a corpus' [score] section names. A task's item is one of theirs if its file
of the data root has the same bytes.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from infra.artifact import Artifact
from infra.store import file_digest
from pipelines.artifacts.documents import shard_paths
from pipelines.artifacts.evaluation import Contamination
from pipelines.artifacts.formats.parquet import read_table
from pipelines.evaluate.task import TaskResult

Place = tuple[str, int]
"""An evaluation item: sha256 of its file, and its row there."""


class Leak(NamedTuple):
    """`share` of the words of an item's `field` occur in the kept document `doc_id` of `corpus`, as in `excerpt`."""

    corpus: str
    doc_id: str
    field: str
    share: float
    excerpt: str


@dataclass(frozen=True)
class CorpusFindings:
    """The artifacts with the findings of `score` in the corpus `name`, and the decisions which of its documents were
    kept."""

    name: str
    score: Artifact
    filter: Artifact
    dedup: Artifact

    @cached_property
    def looked_for(self) -> dict[str, str]:
        """sha256 of each evaluation file that was looked for, by its name in the recipe."""
        params = self.score.manifest.params
        names = [benchmark["name"] for benchmark in params["decontaminate"]]
        return dict(zip(names, params["fingerprints"]["decontaminate"], strict=True))

    def leaks(self) -> Iterator[tuple[Place, Leak]]:
        """Every item that a kept document holds, in the order of the corpus."""
        kinds = [(self.score, "contamination"), (self.filter, "filtered"), (self.dedup, "decisions")]
        shards = zip(*(shard_paths(artifact.path, kind) for artifact, kind in kinds), strict=True)
        for contamination, filtered, decisions in shards if self.looked_for else ():
            hits = read_table(contamination)
            kept_ids = _kept_ids(filtered) & _kept_ids(decisions) if hits.num_rows else set()
            for hit in hits.to_pylist():
                if hit["doc_id"] in kept_ids:
                    leak = Leak(self.name, hit["doc_id"], hit["field"], hit["share"], hit["excerpt"])
                    yield (self.looked_for[hit["benchmark"]], int(hit["item"])), leak


@dataclass(frozen=True)
class Contaminated:
    """`counts` by task; `leaks`: the documents in which each contaminated item occurs, by task and item id, the largest
    share first."""

    counts: Mapping[str, Contamination]
    leaks: Mapping[tuple[str, str], Sequence[Leak]]

    def shares(self) -> dict[tuple[str, str], float]:
        """Largest share of each item that one document holds."""
        return {item: leaks[0].share for item, leaks in self.leaks.items()}

    def evidence(self) -> list[dict[str, Any]]:
        """Rows of EVIDENCE."""
        return [
            {"task": task, "item_id": item_id, **leak._asdict()}
            for (task, item_id), leaks in self.leaks.items()
            for leak in leaks
        ]


def contaminated(results: Sequence[TaskResult], root: Path, corpora: Sequence[CorpusFindings]) -> Contaminated:
    """Items of `results`, whose files are under `root`, that occur in each of `corpora`."""
    by_location: dict[Place, list[Leak]] = {}
    for corpus in corpora:
        for location, leak in corpus.leaks():
            by_location.setdefault(location, []).append(leak)
    looked_for = {digest for corpus in corpora for digest in corpus.looked_for.values()}
    named = {item.place[0] for result in results for item in result.items if item.place} if looked_for else set()
    digests = {file: file_digest(root / file) for file in sorted(named)}
    counts: dict[str, Contamination] = {}
    leaks: dict[tuple[str, str], list[Leak]] = {}
    for result in results:
        placed = [(item.item_id, item.place) for item in result.items if item.place]
        locations = {item_id: (digests.get(file, ""), row) for item_id, (file, row) in placed}
        leaks_by_item = {
            item_id: by_location[location] for item_id, location in locations.items() if location in by_location
        }
        leaks |= {(result.name, item_id): sorted(each, key=_by_share) for item_id, each in leaks_by_item.items()}
        num_looked_for = sum(digest in looked_for for digest, _ in locations.values())
        counts[result.name] = Contamination(len(result.items), num_looked_for, len(leaks_by_item))
    return Contaminated(counts, leaks)


def _by_share(leak: Leak) -> tuple[float, Leak]:
    return -leak.share, leak


def _kept_ids(shard: Path) -> set[str]:
    table = read_table(shard, columns=["doc_id", "keep"])
    return set(table.filter(table["keep"])["doc_id"].to_pylist())
