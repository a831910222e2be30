"""Sentence transformers: a text is the pooled output of an encoder (Reimers and Gurevych 2019, arXiv 1908.10084).

A folder as sentence-transformers writes it, or transformers. What decides its embeddings is read and checked here, by
plain Python: a plan needs neither torch nor the model.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pipelines.artifacts.tokenization.tokenizer import read_tokenizer, vocab_size
from pipelines.dedup.semantic.static_model import MATRICES, TOKENIZER_FILE, WEIGHTS_FILE
from pipelines.dedup.semantic.vectors import MAX_WIDTH, directions

CONFIG_FILE, MODULES_FILE = "config.json", "modules.json"
LENGTH_FILE, PROMPTS_FILE = "sentence_bert_config.json", "config_sentence_transformers.json"
MODULES = ("Transformer", "Pooling", "Normalize")
"""What a model may consist of; the length of a vector does not matter here."""
POOLINGS: dict[str, Literal["mean", "cls"]] = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}
OFFSET_POSITIONS = ("camembert", "mpnet", "roberta", "xlm-roberta")
"""Architectures whose positions begin behind that of the padding."""
_FRACTION_BITS = 30


@dataclass(frozen=True)
class Encoder:
    """`folder`: of the weights, their config and the tokenizer; `max_tokens` of one pass; `prompt`: stands before every
    text; `files`: all that decide the embeddings."""

    folder: Path
    max_tokens: int
    pooling: Literal["mean", "cls"]
    prompt: str
    files: tuple[Path, ...]


@dataclass(frozen=True)
class EncoderModel:
    """Embeds each text in passes of its own by one thread, so that no embedding depends on other texts or workers."""

    encoder: Encoder

    @property
    def width(self) -> int:
        """D."""
        width: int = self._library_model.width
        return width

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """int16 [texts, D]: directions, as in `vectors`; zeros for a text without a token."""
        rows = [np.zeros((0, self.width))]
        rows += [
            self._library_model.embed(self.encoder.prompt + text)[None] if text else _nothing(self.width)
            for text in texts
        ]
        vectors = np.concatenate(rows)
        largest = np.abs(vectors).max(axis=1, initial=0.0, keepdims=True)
        return directions(np.rint(vectors * (2.0**_FRACTION_BITS / np.where(largest, largest, 1.0))).astype(np.int64))

    @cached_property
    def _library_model(self) -> Any:
        from pipelines.models.sentence_encoder import SentenceEncoder

        return SentenceEncoder(self.encoder.folder, self.encoder.max_tokens, self.encoder.pooling)


def _nothing(width: int) -> np.ndarray:
    return np.zeros((1, width))


def is_encoder(folder: Path) -> bool:
    """Whether `folder` holds an encoder rather than a static model."""
    if (folder / MODULES_FILE).is_file():
        return "Transformer" in _types(folder)
    is_model = (folder / CONFIG_FILE).is_file() and _object(folder / CONFIG_FILE).get("model_type") != "model2vec"
    return is_model and not _has_table(folder)


def load_encoder(folder: Path) -> EncoderModel:
    """The model in `folder`. Raises ValueError if it cannot be used."""
    return EncoderModel(read_encoder(folder))


def read_encoder(folder: Path) -> Encoder:
    """What the files in `folder` say. Raises ValueError if one is missing, or the model is of a kind that cannot be
    used."""
    paths = _paths(folder)
    inner = folder / paths.get("Transformer", "")
    for name in (CONFIG_FILE, WEIGHTS_FILE, TOKENIZER_FILE):
        if not (inner / name).is_file():
            raise ValueError(f"{inner} has no {name}. Name the folder of an embedding model.")
    config = _object(inner / CONFIG_FILE)
    if "auto_map" in config:
        raise ValueError(f"{inner / CONFIG_FILE}: auto_map names code of the model's own, which never runs. {_MEND}")
    if config.get("is_encoder_decoder"):
        raise ValueError(f"{inner / CONFIG_FILE}: the model has a decoder. {_MEND}")
    width, num_rows = config.get("hidden_size", config.get("dim")), config.get("vocab_size")
    if not isinstance(width, int) or not 0 < width <= MAX_WIDTH:
        raise ValueError(f"{inner / CONFIG_FILE}: hidden_size = {width}: must be 1 to {MAX_WIDTH}. {_MEND}")
    size = vocab_size(read_tokenizer(inner / TOKENIZER_FILE))
    if isinstance(num_rows, int) and size > num_rows:
        raise ValueError(
            f"{inner / TOKENIZER_FILE} has {size} ids, {CONFIG_FILE} {num_rows}. Bring files of one model."
        )
    pooling = folder / paths["Pooling"] / CONFIG_FILE if "Pooling" in paths else None
    optional = [inner / LENGTH_FILE, folder / PROMPTS_FILE, folder / MODULES_FILE, *([pooling] if pooling else [])]
    return Encoder(
        inner,
        _max_tokens(inner, config),
        _pooling(pooling) if pooling else "mean",
        _prompt(folder),
        tuple(
            file
            for file in (inner / CONFIG_FILE, inner / WEIGHTS_FILE, inner / TOKENIZER_FILE, *optional)
            if file.is_file()
        ),
    )


_MEND = "Name another model."


def _types(folder: Path) -> list[str]:
    return [str(each.get("type", "")).rpartition(".")[2] for each in _json(folder / MODULES_FILE, list)]


def _paths(folder: Path) -> dict[str, str]:
    """The folder of each module by its type; nothing without a list of modules."""
    if not (folder / MODULES_FILE).is_file():
        return {}
    for kind in _types(folder):
        if kind not in MODULES:
            raise ValueError(f"{folder / MODULES_FILE}: {kind} is not supported; {', '.join(MODULES)} are. {_MEND}")
    return dict(zip(_types(folder), (each.get("path", "") for each in _json(folder / MODULES_FILE, list)), strict=True))


def _max_tokens(folder: Path, config: dict[str, Any]) -> int:
    stated = _object(folder / LENGTH_FILE).get("max_seq_length") if (folder / LENGTH_FILE).is_file() else None
    if stated is None and isinstance(config.get("max_position_embeddings"), int):
        offset = config.get("pad_token_id", 1) + 1 if config.get("model_type") in OFFSET_POSITIONS else 0
        stated = config["max_position_embeddings"] - offset
    if not isinstance(stated, int) or stated < 8:
        raise ValueError(f"{folder}: neither {LENGTH_FILE} nor {CONFIG_FILE} states how many tokens it reads. {_MEND}")
    return stated


def _pooling(file: Path) -> Literal["mean", "cls"]:
    if not file.is_file():
        raise ValueError(f"{file} is missing. Bring all files of the model.")
    modes = sorted(name for name, value in _object(file).items() if name.startswith("pooling_mode") and value is True)
    if len(modes) != 1 or modes[0] not in POOLINGS:
        raise ValueError(f"{file}: {', '.join(modes) or 'no pooling'}: {' or '.join(POOLINGS)} is supported. {_MEND}")
    return POOLINGS[modes[0]]


def _prompt(folder: Path) -> str:
    if not (folder / PROMPTS_FILE).is_file():
        return ""
    fields = _object(folder / PROMPTS_FILE)
    return str((fields.get("prompts") or {}).get(fields.get("default_prompt_name"), ""))


def _has_table(folder: Path) -> bool:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(folder / WEIGHTS_FILE, framework="numpy") as tensors:
            return not set(MATRICES).isdisjoint(tensors.keys())
    except (OSError, SafetensorError):
        return False


def _object(file: Path) -> dict[str, Any]:
    result: dict[str, Any] = _json(file, dict)
    return result


def _json(file: Path, kind: type) -> Any:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file}: no JSON ({error}). Bring the file of the model.") from None
    if not isinstance(content, kind):
        raise ValueError(f"{file}: holds no {kind.__name__}. Bring the file of the model.")
    return content
