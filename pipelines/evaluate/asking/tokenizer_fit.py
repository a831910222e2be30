"""Whether a tokenizer belongs to a model: its ids have rows in the embedding, and encode the texts that the model
learnt them for."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from pipelines.models.loading import load_codec
from pipelines.models.source import ModelSource


def require_fit(source: ModelSource, made_with: Path | None) -> None:
    """Raise ValueError if the tokenizer of `source` is another model's, or cannot be read.

    `made_with`: folder of the tokenizer that the model was trained with, if a store records it; a Hugging Face folder
    has its tokenizer next to the weights.
    """
    codec = load_codec(source)
    num_ids = source.vocabulary_size
    # An added token that nothing uses, such as one for padding, may lie beyond the vocabulary.
    used = {"the token before a text": codec.prefix_id}
    used |= {f"token {number}, which ends an answer,": number for number in codec.end_ids}
    last = max(codec.vocabulary.items(), key=lambda item: item[1], default=("", 0))
    used[f"its token {last[0]!r}"] = last[1]
    for name, number in used.items():
        if num_ids is not None and number >= num_ids:
            raise ValueError(
                f"{source.tokenizer_folder}: {name} has the id {number}, which is beyond the {num_ids} ids of "
                f"{source.checkpoint}. Name the tokenizer of that model."
            )
    own = made_with or source.checkpoint
    if own.resolve() != source.tokenizer_folder.resolve():
        _require_same_ids(source, own, codec.vocabulary)


def _require_same_ids(source: ModelSource, own: Path, named: Mapping[str, int]) -> None:
    """Ids that both have must encode the same tokens; template and end token may differ."""
    try:
        vocabulary = load_codec(replace(source, tokenizer=own)).vocabulary
    except (ValueError, OSError):
        return  # The tokenizer of the training is missing, so there is nothing to compare with.
    tokens = {number: token for token, number in vocabulary.items()}
    for token, number in sorted(named.items(), key=lambda item: item[1]):
        if tokens.get(number, token) != token:
            raise ValueError(
                f"{source.tokenizer_folder}: the id {number} is {token!r}, which is {tokens[number]!r} in {own}, the "
                f"tokenizer of {source.checkpoint}. Leave it out, or name one with the same ids."
            )
