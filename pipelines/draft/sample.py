"""A few documents of a group of files, and their properties: fields, languages, share of text, sizes."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from pipelines.artifacts.documents import Document
from pipelines.draft.rows import JsonObject, chat_of, flattened, rows_of
from pipelines.draft.survey import CHAT, REPOSITORIES, Group
from pipelines.source.code.files import files_of, read_code
from pipelines.source.read_documents import read_documents

MAX_DOCUMENTS = 200
MAX_FILES = 5
"""Files that are sampled, spread evenly over the group."""
TEXT_FIELDS = (
    "text",
    "content",
    "body",
    "article",
    "document",
    "raw_content",
    "markdown",
    "completion",
    "code",
    "output",
)
"""Usual names of the field that holds a document's text, likeliest first."""
OTHER_FIELDS: Mapping[str, tuple[str, ...]] = {
    "url_field": ("url", "link", "uri", "source_url", "warc-target-uri", "metadata.url", "meta.url"),
    "date_field": ("date", "timestamp", "created", "created_at", "published", "metadata.date"),
    "licence_field": ("licence", "license", "metadata.license", "meta.license"),
    "id_field": ("id", "doc_id", "uuid", "_id"),
}
MIN_LANGUAGE_SHARE = 0.05
UNPACKED: Mapping[str, float] = {".gz": 4.0, ".zst": 5.0, ".bz2": 5.0, ".parquet": 2.5}
"""Bytes of JSON or columns in a byte of a packed file: usual for text."""
TEXT_PER_BYTE: Mapping[str, float] = {"text_files": 1.0, REPOSITORIES: 0.7}
"""Bytes of text in a byte of files that are text: all of them, or the part that is code."""
MIN_TEXT_LENGTH = 20
"""Mean characters of a field that may be text, if its name is not a usual one."""


@dataclass(frozen=True)
class Sample:
    """Documents of a group.

    Attributes:
        documents: At most MAX_DOCUMENTS of them.
        fields: Fields of the input's section that name fields of a row.
        num_documents: Estimate for the whole group.
        text_bytes: Estimate of the UTF-8 bytes of all documents.
        unreadable: Reasons of the records that could not be read.
    """

    documents: tuple[Document, ...]
    fields: Mapping[str, str]
    num_documents: int
    text_bytes: int
    unreadable: tuple[str, ...] = ()


def sample(group: Group) -> Sample:
    """Read some documents of a group."""
    is_table = group.kind in ("jsonl", "parquet")
    files = spread(group.files, MAX_FILES)
    rows = rows_of(files) if is_table or group.kind == CHAT else []
    fields = row_fields(rows) if is_table else {}
    if is_table and not fields:
        return Sample((), {}, 0, 0, ("no field holds text",))
    unreadable: list[str] = []
    documents: list[Document] = []
    for path in files:
        documents += islice(_documents(group.kind, path, fields, unreadable), MAX_DOCUMENTS // len(files))
    text_bytes = int(group.num_bytes * _text_per_byte(group, fields, documents, rows))
    mean = sum(len(each.text.encode()) for each in documents) / max(1, len(documents))
    num_documents = max(len(documents), round(text_bytes / mean)) if mean else 0
    return Sample(tuple(documents), fields, num_documents, text_bytes, tuple(unreadable))


def spread(files: Sequence[Path], count: int) -> list[Path]:
    """At most `count` of the files, evenly spaced."""
    return [files[index * len(files) // count] for index in range(count)] if len(files) > count else list(files)


def row_fields(rows: Sequence[JsonObject]) -> dict[str, str]:
    """Fields of the rows of JSON Lines or Parquet files; empty if no field holds text."""
    flat = [flattened(row) for row in rows]
    names = {name.lower(): name for row in flat for name in row}
    text = _text_field(flat, names)
    if text is None:
        return {}
    others = {
        field: next((names[name] for name in usual if name in names and names[name] != text), None)
        for field, usual in OTHER_FIELDS.items()
    }
    return {"text_field": text} | {field: name for field, name in others.items() if name}


def _text_field(rows: Sequence[Mapping[str, Any]], names: Mapping[str, str]) -> str | None:
    """The field with a usual name, else the one with the longest texts of several words."""
    lengths: Counter[str] = Counter()
    for row in rows:
        lengths.update({name: len(value) for name, value in row.items() if isinstance(value, str) and " " in value})
    for name in TEXT_FIELDS:
        if lengths[names.get(name, "")]:
            return names[name]
    longest = lengths.most_common(1)
    return longest[0][0] if longest and longest[0][1] >= MIN_TEXT_LENGTH * len(rows) else None


def languages(documents: Sequence[Document]) -> list[str]:
    """Languages of at least MIN_LANGUAGE_SHARE of the documents, the most frequent first."""
    from pipelines.score.text.language import detect

    counts = Counter(detect(document.text, arbitrate=True).code for document in documents)
    least = MIN_LANGUAGE_SHARE * len(documents)
    return [code for code, count in counts.most_common() if count >= least and code != "unknown"]


def _documents(kind: str, path: Path, fields: Mapping[str, str], unreadable: list[str]) -> Iterator[Document]:
    if kind == REPOSITORIES:
        for file in files_of(path, 10**6):
            code = read_code(file)
            if not isinstance(code, str):
                yield Document(code.text, url=code.path, origin=path.name)
        return
    if kind == CHAT:
        chats = (chat_of(row) for row in rows_of([path]))
        yield from (Document(chat.text, url=chat.prompt, origin=path.name) for chat in chats if chat)
        return
    yield from read_documents(
        path,
        text_field=fields.get("text_field", TEXT_FIELDS[0]),
        url_field=fields.get("url_field"),
        on_unreadable=lambda _, reason: unreadable.append(reason),
    )


def _text_per_byte(
    group: Group, fields: Mapping[str, str], documents: Sequence[Document], rows: Sequence[JsonObject]
) -> float:
    """Bytes of text in a byte of the group's files."""
    if group.kind in TEXT_PER_BYTE:
        return TEXT_PER_BYTE[group.kind]
    if group.kind == "warc":
        # A document's position in its file shows how far the sample reads.
        ends = {each.origin: (each.offset or 0) + (each.length or 0) for each in documents}
        return sum(len(each.text.encode()) for each in documents) / max(1, sum(ends.values()))
    if group.kind == CHAT:
        text = sum(len(chat.text.encode()) for row in rows if (chat := chat_of(row)))
    else:
        text = sum(len(str(flattened(row).get(fields["text_field"], "")).encode()) for row in rows)
    whole = sum(len(json.dumps(row, ensure_ascii=False, default=str).encode()) for row in rows)
    return UNPACKED.get(group.files[0].suffix.lower(), 1.0) * text / max(1, whole)
