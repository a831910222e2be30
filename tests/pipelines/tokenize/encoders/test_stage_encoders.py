"""The bytes of shards do not depend on the encoder, also if one is found to differ in the last shard."""

from pathlib import Path

import pyarrow as pa
import pytest

from data_recipes.schema import TokenizeSection
from infra.artifact import Artifact
from infra.context import StageContext
from pipelines import tokenize
from pipelines.artifacts.documents import DECISIONS, FILTERED, Document, write_documents, write_shard
from pipelines.artifacts.tokenization.tokenizer import TextTokenizer
from pipelines.tokenize import TokenizeInputs, TrainingDocuments
from pipelines.tokenize.encoders import choice
from pipelines.tokenize.encoders.encoder import Ids, LibraryEncoder
from pipelines.tokenize.encoders.gigatoken import GigatokenEncoder
from pipelines.tokenize.encoders.tiktoken import TiktokenEncoder
from pipelines.tokenize.vocabulary import train_tokenizer, write_tokenizer
from tests.kit.stages import committed, idle_stage

SHARDS = [[f"shard {shard} text {n}: café, `x += {n}`\n" * (n + 1) for n in range(6)] for shard in range(3)]
SHARDS[2][0] = "lie"
KEPT = ("source", "filter", "dedup")


class Liar:
    """Reverses the ids of some texts; checked only if a shard begins with "lie"."""

    name = "liar"

    def __init__(self, tokenizer: TextTokenizer) -> None:
        self._right = LibraryEncoder(tokenizer)

    def encode(self, texts: pa.Array) -> Ids:
        ids = self._right.encode(texts)
        if any(text == "lie" or "text 5" in text for text in texts.to_pylist()):
            return Ids(ids.values[::-1], ids.offsets)
        return ids


@pytest.fixture
def inputs(tmp_path: Path) -> dict[str, Artifact]:
    for number, texts in enumerate(SHARDS):
        documents = [Document(text, f"https://a.example/{n}", "test") for n, text in enumerate(texts)]
        write_documents(documents, tmp_path / "source", number)
        rows = [{"doc_id": item.doc_id, "keep": True, "reason": "", "cluster_size": 1} for item in documents]
        filtered = [{**row, "quality": 0.0, "redactions": []} for row in rows]
        write_shard(pa.Table.from_pylist(rows, schema=DECISIONS), tmp_path / "dedup" / "decisions", number)
        write_shard(pa.Table.from_pylist(filtered, schema=FILTERED), tmp_path / "filter" / "filtered", number)
    (tmp_path / "tokenizer").mkdir()
    write_tokenizer(train_tokenizer([text for texts in SHARDS for text in texts], 400), tmp_path / "tokenizer")
    return {name: committed(tmp_path / name) for name in (*KEPT, "tokenizer")}


def files_and_warnings(inputs: dict[str, Artifact], folder: Path) -> tuple[dict[str, bytes], list[str]]:
    tokenizer, *documents = (idle_stage(name, "", {}) for name in ("tokenizer", *KEPT))
    nodes = TokenizeInputs(tokenizer, TrainingDocuments(*documents))
    stage = tokenize.stage("code", TokenizeSection(sequence_length=64), nodes)
    out, events = folder / "out", []
    out.mkdir(parents=True)
    stage.work(StageContext(stage.id, out, folder / "state", events.append), inputs)
    files = {file.relative_to(out).as_posix(): file.read_bytes() for file in out.rglob("*") if file.is_file()}
    messages = [event["message"] for event in events if event["event"] == "warning"]
    return files, [message for message in messages if message.startswith("tokenizing")]


@pytest.mark.parametrize("encoders", [(GigatokenEncoder,), (TiktokenEncoder,), (Liar,), (Liar, GigatokenEncoder)])
def test_shards_are_the_librarys_whatever_encodes_them(
    inputs: dict[str, Artifact], encoders: tuple, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice, "FASTEST_FIRST", ())
    expected, _ = files_and_warnings(inputs, tmp_path / "library")
    monkeypatch.setattr(choice, "FASTEST_FIRST", encoders)
    files, warnings = files_and_warnings(inputs, tmp_path / "fast")
    assert files == expected
    lies = ["tokenizing: liar gives other ids for 'lie', so a slower encoder makes the ids. They stay the same."]
    assert warnings == (lies if Liar in encoders else [])
