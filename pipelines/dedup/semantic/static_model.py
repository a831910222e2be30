"""Static embeddings: a text is the mean of one row per token (model2vec; StaticEmbedding of sentence-transformers)."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from pipelines.artifacts.tokenization.tokenizer import read_tokenizer, text_batches, vocab_size
from pipelines.dedup.semantic.vectors import MAX_WIDTH, directions

WEIGHTS_FILE, TOKENIZER_FILE = "model.safetensors", "tokenizer.json"
MATRICES = ("embeddings", "embedding.weight")
"""Names of the matrix [rows, D]: model2vec's and that of sentence-transformers."""
_FRACTION_BITS = 24


@dataclass(frozen=True)
class StaticModel:
    """`table`: int32 [V, D], the row of each token, the largest number 2^24; `unknown`: id of the token that stands for
    no text, if any."""

    tokenizer: Tokenizer
    table: np.ndarray
    unknown: int | None

    @property
    def width(self) -> int:
        """D."""
        width: int = self.table.shape[1]
        return width

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """int16 [texts, D]: directions, as in `vectors`; zeros for a text without a known token."""
        from pipelines.dedup.semantic.kernels import sums_of_rows

        os.environ["TOKENIZERS_PARALLELISM"] = "false"
        sums = [np.zeros((0, self.width), np.int64)]
        for batch in text_batches(texts):
            encodings = self.tokenizer.encode_batch_fast(batch, add_special_tokens=False)
            ids = [np.array(encoding.ids, np.int64) for encoding in encodings]
            ids = [each[each != self.unknown] for each in ids]
            sums.append(sums_of_rows(np.concatenate(ids), np.array([len(each) for each in ids]), self.table))
        return directions(np.concatenate(sums))


def static_files(folder: Path) -> list[Path]:
    """The files that decide the embeddings."""
    return [folder / WEIGHTS_FILE, folder / TOKENIZER_FILE]


def load_static_model(folder: Path) -> StaticModel:
    """The model in `folder`. Raises ValueError if a file is missing or holds something else."""
    for name in (WEIGHTS_FILE, TOKENIZER_FILE):
        if not (folder / name).is_file():
            raise ValueError(f"{folder} has no {name}. Name the folder of an embedding model.")
    tokenizer = read_tokenizer(folder / TOKENIZER_FILE)
    table = _read_table(folder / WEIGHTS_FILE)
    if vocab_size(tokenizer) > len(table):
        raise ValueError(
            f"{folder / TOKENIZER_FILE} has {vocab_size(tokenizer)} ids, {WEIGHTS_FILE} {len(table)} rows. "
            "Bring the two files of one model."
        )
    return StaticModel(tokenizer, table, _unknown_id(tokenizer))


def _read_table(file: Path) -> np.ndarray:
    """int32 [V, D]: a row for each token."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="numpy") as tensors:
            names = set(tensors.keys())
            matrix = next((name for name in MATRICES if name in names), None)
            if matrix is None:
                raise ValueError(f"no tensor {' or '.join(MATRICES)}, but {', '.join(sorted(names)[:5])}")
            rows = tensors.get_tensor(matrix).astype(np.float64)
            if rows.ndim != 2 or not 0 < rows.shape[1] <= MAX_WIDTH:
                raise ValueError(f"{matrix} has the shape {list(rows.shape)} instead of [rows, 1 to {MAX_WIDTH}]")
            if "mapping" in names:
                rows = rows[tensors.get_tensor("mapping")]
            if "weights" in names:
                rows = rows * tensors.get_tensor("weights").astype(np.float64)[:, None]
    except (SafetensorError, TypeError, ValueError, IndexError) as error:
        raise ValueError(f"{file}: no static embeddings ({error}). Name another model.") from None
    largest = np.abs(rows).max(initial=0.0)
    if not 0 < largest < np.inf:
        raise ValueError(f"{file}: the embeddings are zero or not finite. Name another model.")
    table: np.ndarray = np.rint(rows * (2.0**_FRACTION_BITS / largest)).astype(np.int32)
    return table


def _unknown_id(tokenizer: Tokenizer) -> int | None:
    if hasattr(tokenizer.model, "unk_token"):
        return tokenizer.token_to_id(tokenizer.model.unk_token) if tokenizer.model.unk_token else None
    # The class for Unigram shows this in its JSON alone.
    unknown: int | None = json.loads(tokenizer.to_str())["model"].get("unk_id")
    return unknown
