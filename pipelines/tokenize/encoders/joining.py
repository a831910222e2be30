"""Processing of the ids of many texts at once."""

import numpy as np
import pyarrow as pa

from pipelines.artifacts.tokenization.tokenizer import TextTokenizer
from pipelines.tokenize.encoders.encoder import Ids


def between_end_ids(ids: Ids, end_id: int, dtype: str) -> np.ndarray:
    """The ids of all texts end to end, each text between two end ids."""
    texts = np.arange(len(ids.offsets) - 1)
    is_end = np.zeros(len(ids.values) + 2 * len(texts), bool)
    is_end[ids.offsets[:-1] + 2 * texts] = True
    is_end[ids.offsets[1:] + 2 * texts + 1] = True
    framed = np.full(len(is_end), end_id, dtype)
    framed[~is_end] = ids.values
    return framed


def num_changed(tokenizer: TextTokenizer, ids: Ids, texts: pa.Array) -> int:
    """How many of `texts`, a large_string array, their ids do not give back exactly."""
    offsets, decoded = contents(tokenizer.token_table.take(pa.array(ids.values)))
    text_offsets, text = contents(texts)
    if np.array_equal(offsets[ids.offsets], text_offsets - text_offsets[0]) and np.array_equal(decoded, text):
        return 0
    return sum(
        not tokenizer.decodes_to(ids.of(number).tolist(), content) for number, content in enumerate(texts.to_pylist())
    )


def contents(array: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """int64 [N + 1] offsets, and the uint8 content between the first and the last, of strings with 64-bit offsets."""
    _, offsets_buffer, content = array.buffers()
    offsets = np.frombuffer(offsets_buffer, np.int64)[array.offset : array.offset + len(array) + 1]
    return offsets, np.frombuffer(content or b"", np.uint8)[offsets[0] : offsets[-1]]
