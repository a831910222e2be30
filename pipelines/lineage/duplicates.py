"""The members of a cluster of duplicates, the evidence for each, and their differences."""

from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

from infra.artifact import Artifact
from infra.inputs import nodes_of
from infra.store import Store
from pipelines.artifacts.duplicates import Member, describe_evidence, find_members, read_document
from pipelines.errors import NotInStoreError

MEMBERS_SHOWN = 20
CHANGES_SHOWN = 4
"""Maximum number of differences shown between a member and its representative."""
WORDS_COMPARED = 5000
WORDS_AROUND = 4
EXCERPT_CHARACTERS = 300


def describe_cluster(cluster_id: str, store: Store) -> str:
    """The cluster that document `cluster_id` represents or belongs to, as lines of text, for every dedup result that
    has it. Raises NotInStoreError, StoreError."""
    artifacts = list(store.artifacts())
    parts = [
        "\n".join(_cluster(cluster_id, artifact, artifacts))
        for artifact in artifacts
        if artifact.manifest.name == "dedup"
    ]
    members = [part for part in parts if part]
    if not members:
        raise NotInStoreError(
            f"store {store.root}: no cluster {cluster_id!r}. A cluster has the id of its kept document: "
            "the column kept_id of clusters.parquet and decisions/ of dedup."
        )
    return "\n\n".join(members)


def _cluster(cluster_id: str, artifact: Artifact, artifacts: Sequence[Artifact]) -> Iterator[str]:
    members = list(find_members(artifact.path, [cluster_id]))
    own = next((member for member in members if member.decision["doc_id"] == cluster_id), None)
    if own is not None and own.decision["kept_id"]:
        yield from _cluster(own.decision["kept_id"], artifact, artifacts)
        return
    if not members:
        return
    representative = _kept_document(cluster_id, own, artifact, artifacts)
    yield (
        f"cluster {cluster_id} of {artifact.manifest.id} {artifact.manifest.key}: "
        f"{members[0].decision['cluster_size']:,} documents, one kept"
    )
    yield from _describe("kept", representative)
    yield f"     {_excerpt(representative['text'])}"
    removed = [member for member in members if member is not own]
    source = _by_key(artifacts, artifact.manifest.inputs["source"])
    for member in removed[:MEMBERS_SHOWN]:
        yield from _member(member, _document(source, member), representative["text"])
    if len(removed) > MEMBERS_SHOWN:
        yield f"and {len(removed) - MEMBERS_SHOWN:,} more"


def _kept_document(
    cluster_id: str, own: Member | None, artifact: Artifact, artifacts: Sequence[Artifact]
) -> dict[str, Any]:
    """The representative of the cluster, from this corpus or from an earlier one that it was compared with."""
    inputs = artifact.manifest.inputs
    if own is not None:
        return _document(_by_key(artifacts, inputs["source"]), own)
    for earlier in artifact.manifest.params["against"]:
        deduped = _by_key(artifacts, nodes_of("dedup", inputs)[earlier])
        for member in find_members(deduped.path, [cluster_id]):
            if member.decision["doc_id"] == cluster_id:
                return _document(_by_key(artifacts, nodes_of("source", inputs)[earlier]), member)
    raise NotInStoreError(f"{artifact.path}: no document {cluster_id}, though decisions name it; build dedup again")


def _by_key(artifacts: Sequence[Artifact], key: str) -> Artifact:
    for artifact in artifacts:
        if artifact.manifest.key == key:
            return artifact
    raise NotInStoreError(
        f"no committed stage has the key {key}, which this cluster's texts come from; run the recipe again"
    )


def _document(source: Artifact, member: Member) -> dict[str, Any]:
    shard: Path = source.path / "documents" / member.shard.name
    return read_document(shard, member.row, ["doc_id", "url", "origin", "text"])


def _describe(role: str, document: dict[str, Any]) -> Iterator[str]:
    yield f"{role:<4} {document['doc_id']}  {document['url']}"
    yield f"     from {document['origin']}, {len(document['text']):,} characters"


def _member(member: Member, document: dict[str, Any], kept_text: str) -> Iterator[str]:
    decision = member.decision
    yield from _describe("gone", document)
    yield f"     {decision['reason'].replace('_', ' ')}: {describe_evidence(decision)}"
    yield from (f"     {change}" for change in word_changes(kept_text, document["text"]))


def word_changes(kept_text: str, other: str) -> list[str]:
    """The differences of `other` from `kept`, in words between blanks: [-only in kept-] {+only in other+}, with
    context.
    """
    one, two = (text.split()[:WORDS_COMPARED] for text in (kept_text, other))
    changes = [step for step in SequenceMatcher(None, one, two, autojunk=False).get_opcodes() if step[0] != "equal"]
    shown = [
        " ".join(
            [
                *one[max(0, start - WORDS_AROUND) : start],
                *_marked("[-", one[start:stop], "-]"),
                *_marked("{+", two[other_start:other_stop], "+}"),
                *one[stop : stop + WORDS_AROUND],
            ]
        )
        for _, start, stop, other_start, other_stop in changes[:CHANGES_SHOWN]
    ]
    more = len(changes) - len(shown)
    return [*shown, f"and {more:,} more changes"] if more else shown or ["the same words"]


def _marked(before: str, words: list[str], after: str) -> list[str]:
    return [_excerpt(f"{before}{' '.join(words)}{after}")] if words else []


def _excerpt(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= EXCERPT_CHARACTERS else f"{line[:EXCERPT_CHARACTERS]}..."
