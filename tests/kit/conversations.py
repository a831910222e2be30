"""Conversations through the stage `tokenize`, without the stages before it."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from data_recipes.schema import TokenizeSection
from infra.artifact import Artifact
from infra.context import StageContext
from infra.stage import Metrics
from pipelines.artifacts.conversations import Conversation
from pipelines.artifacts.documents import DECISIONS, FILTERED, Document, write_documents, write_shard
from pipelines.tokenize import TokenizeInputs, TrainingDocuments, chat
from tests.kit.stages import committed, idle_stage


class Tokenized(NamedTuple):
    """The folder of a result, with the metrics and warnings of its stage."""

    path: Path
    metrics: Metrics
    warnings: list[str]


def tokenized(
    home: Path, tokenizer: Path, chats: Sequence[Conversation | Document], *, pairs: bool = False, **section: Any
) -> Tokenized:
    """Tokenize conversations, all of which are kept, into the folder `out` of `home`."""
    stages = {name: idle_stage(name) for name in ("source", "filter", "dedup")}
    inputs = TokenizeInputs(idle_stage("tokenizer"), TrainingDocuments(**stages))
    stage = chat.stage("chat", "chat", TokenizeSection(**section), inputs, pairs=pairs)
    artifacts = dict(zip(stage.inputs, [committed(tokenizer), *corpus(home / "corpus", chats)], strict=True))
    events: list[Any] = []
    out = home / "out"
    out.mkdir()
    metrics = stage.work(StageContext(stage.id, out, home / "state", events.append), artifacts)
    return Tokenized(out, metrics, [json.dumps(event) for event in events if event["event"] == "warning"])


def corpus(folder: Path, chats: Sequence[Conversation | Document]) -> list[Artifact]:
    """Results of source, filter and dedup that keep every conversation."""
    documents = [
        item if isinstance(item, Document) else Document(item.text, f"c#{number}", "c", attributes=item.attributes)
        for number, item in enumerate(chats)
    ]
    write_documents(documents, folder / "source", 0)
    rows = [
        {"doc_id": item.doc_id, "keep": True, "reason": "", "cluster_size": 1, "quality": 0.0, "redactions": []}
        for item in documents
    ]
    for name, kind, schema in (("filter", "filtered", FILTERED), ("dedup", "decisions", DECISIONS)):
        columns = [{field: row.get(field) for field in schema.names} for row in rows]
        write_shard(pa.Table.from_pylist(columns, schema=schema), folder / name / kind, 0)
    return [committed(folder / name) for name in ("source", "filter", "dedup")]
