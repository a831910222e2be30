"""A small packed corpus with its tokenizer, made by the stages that make them in a run; a model for that tokenizer."""

import hashlib
import json
from pathlib import Path

import pyarrow as pa
import pytest
import torch
from safetensors.torch import save_file

from arctic_model.checkpoint.reading import INDEX
from arctic_model.model import ArcticModel
from arctic_model.presets import preset
from data_recipes.schema import TokenizerSection, TokenizeSection
from infra.artifact import Artifact
from infra.context import StageContext
from infra.stage import Stage
from pipelines import tokenize
from pipelines.artifacts.documents import DECISIONS, FILTERED, Document, write_documents, write_shard
from pipelines.models.source import ModelSource
from tests.kit.stages import committed, idle_stage

TEXTS = [f"Row {n}: naïve café {n * n}.\nSELECT x{n} FROM t;\n" * (1 + n % 9) for n in range(30)]


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    """Artifacts "source", "filter", "dedup", "tokenizer" and "tokens"; T = 32; every third document held out."""
    folder = tmp_path_factory.mktemp("corpus")

    def run(stage: Stage, out: Path, inputs: dict[str, Artifact]) -> Artifact:
        out.mkdir(parents=True)
        stage.work(StageContext(stage.id, out, out.with_suffix(".state"), [].append), inputs)
        return committed(out)

    documents = [
        Document(text, f"https://example.org/{n}", "test", split="train" if n % 3 else "heldout")
        for n, text in enumerate(TEXTS)
    ]
    decisions = [{"doc_id": item.doc_id, "keep": True, "reason": "", "cluster_size": 1} for item in documents]
    write_documents(documents, folder / "source", 0)
    write_shard(pa.Table.from_pylist(decisions, schema=DECISIONS), folder / "dedup" / "decisions", 0)
    filtered = [{**row, "quality": 0.0, "redactions": []} for row in decisions]
    write_shard(pa.Table.from_pylist(filtered, schema=FILTERED), folder / "filter" / "filtered", 0)
    remaining = [idle_stage(name, "notes") for name in ("source", "filter", "dedup")]
    inputs = {stage.name: committed(folder / stage.name) for stage in remaining}
    trained = tokenize.tokenizer_stage(
        TokenizerSection(vocab_size=320, sample_bytes_per_corpus=10**6),
        {"notes": tokenize.TrainingDocuments(*remaining)},
    )
    named = {f"{name}:notes": artifact for name, artifact in inputs.items()}
    inputs["tokenizer"] = run(trained, folder / "tokenizer", named)
    packed = tokenize.stage(
        "notes",
        TokenizeSection(sequence_length=32),
        tokenize.TokenizeInputs(trained, tokenize.TrainingDocuments(*remaining)),
    )
    return inputs | {"tokens": run(packed, folder / "tokens", inputs)}


@pytest.fixture(scope="session")
def our_model(corpus: dict[str, Artifact], tmp_path_factory: pytest.TempPathFactory) -> ModelSource:
    """A checkpoint with random weights, large enough that it prefers some ids; 512 positions."""
    folder = tmp_path_factory.mktemp("our_model")
    model = ArcticModel(preset("tiny", {"max_positions": 512}))
    generator = torch.Generator().manual_seed(0)
    weights = {name: 0.3 * torch.randn(tensor.shape, generator=generator) for name, tensor in model.logical_tensors()}
    save_file(weights, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(model.config.to_huggingface()))
    digests = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()}
    (folder / INDEX).write_text(json.dumps(digests))
    return ModelSource(folder, corpus["tokenizer"].path)
