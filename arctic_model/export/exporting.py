"""One export: written, loaded back by its engine, compared."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from arctic_model.checkpoint.reading import Checkpoint, open_weights
from arctic_model.export.capabilities import require_expressible
from arctic_model.export.formats import Format
from arctic_model.export.prompts import prompts
from arctic_model.export.special_tokens import SpecialTokens
from arctic_model.export.validation import (
    Agreement,
    Request,
    ask_engine,
    ask_model,
    compare,
    require_agreement,
)
from arctic_model.model import ArcticModel

MAX_NEW_TOKENS = 16
COMPUTED_IN = {"bfloat16": "bfloat16", "float8_e4m3": "bfloat16"}
"""By dtype of the weights, the engine's dtype of computation; float32 for all others."""


def export(checkpoint: Path, tokenizer: Path, out: Path, to: Format, dtype: str) -> Agreement:
    """Write a checkpoint in another format, and have the format's engine agree with the model.

    The model must fit into memory twice, as itself and in the engine.

    Args:
        checkpoint: folder of a checkpoint, or a Hugging Face directory of an Arctic model.
        tokenizer: folder with its tokenizer.json and tokenizer_config.json.
        out: an existing, empty folder. After an error its content is worthless.
        to: the format.
        dtype: of the weights, one of the format's.

    Returns:
        How the engine agrees with the model.

    Raises:
        ExportError: if the format cannot express the model, or the tokenizer cannot be read.
        CheckpointError: if the checkpoint cannot be read, or one of its files is damaged.
        ValidationError: if the engine does not load the export, or computes something else.
    """
    stored = Checkpoint(checkpoint)
    require_expressible(stored.config, to.name, dtype)
    special = SpecialTokens.read(tokenizer)
    texts = prompts(tokenizer, stored.config.max_positions, MAX_NEW_TOKENS)
    with ThreadPoolExecutor(1) as pool:
        # Hashing reads the same bytes: one pass over the disk serves both.
        verified = pool.submit(open_weights, checkpoint)
        to.write(stored, tokenizer, out, dtype)
        verified.result()
    request = Request(texts, special.end, COMPUTED_IN.get(dtype, "float32"), MAX_NEW_TOKENS)
    theirs = ask_engine(to.engine, out / to.target, request)
    agreement = compare(request, ask_model(ArcticModel.from_pretrained(checkpoint), request), theirs)
    require_agreement(agreement, to.max_kl[dtype])
    return agreement
