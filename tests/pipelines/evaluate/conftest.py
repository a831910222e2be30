"""A small packed corpus with its tokenizer, made by the stages that make them in a run."""

from pathlib import Path

import pyarrow as pa
import pytest

from data_recipes.schema import TokenizerSection, TokenizeSection
from infra.context import StageContext
from infra.stage import Stage
from infra.store import Artifact
from pipelines import tokenize
from pipelines.artifacts.documents import DECISIONS, Document, write_documents, write_shard

TEXTS = [f"Row {n}: naïve café {n * n}.\nSELECT x{n} FROM t;\n" * (1 + n % 9) for n in range(30)]


def run(stage: Stage, out: Path, inputs: dict[str, Artifact]) -> Artifact:
    out.mkdir(parents=True)
    stage.work(StageContext(stage.id, out, out.with_suffix(".state"), [].append), inputs)
    return Artifact(out, None)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    """Artifacts "source", "dedup", "tokenizer" and "tokens"; sequences of 32 ids; every third document held out."""
    folder = tmp_path_factory.mktemp("corpus")
    documents = [
        Document(text, f"https://example.org/{n}", "test", split="train" if n % 3 else "heldout")
        for n, text in enumerate(TEXTS)
    ]
    decisions = [{"doc_id": item.doc_id, "keep": True, "reason": "", "cluster_size": 1} for item in documents]
    write_documents(documents, folder / "source", 0)
    write_shard(pa.Table.from_pylist(decisions, schema=DECISIONS), folder / "dedup" / "decisions", 0)
    source, dedup = (Stage(name, "notes", 1, {}, {}, lambda context, inputs: {}) for name in ("source", "dedup"))
    inputs = {"source": Artifact(folder / "source", None), "dedup": Artifact(folder / "dedup", None)}
    trained = tokenize.tokenizer_stage(
        TokenizerSection(vocab_size=320, sample_bytes_per_corpus=10**6), {"notes": (source, dedup)}
    )
    named = {f"{name}:notes": artifact for name, artifact in inputs.items()}
    inputs["tokenizer"] = run(trained, folder / "tokenizer", named)
    packed = tokenize.stage("notes", TokenizeSection(sequence_length=32), trained, source, dedup)
    return inputs | {"tokens": run(packed, folder / "tokens", inputs)}
