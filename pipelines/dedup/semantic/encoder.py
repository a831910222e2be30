"""Sentence transformers: a text is the pooled output of an encoder (Reimers and Gurevych 2019, arXiv 1908.10084).

A folder as sentence-transformers writes it, or transformers. What decides its embeddings is read and checked here, by
plain Python: a plan needs neither torch nor the model.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

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
FEWEST_TOKENS = 8
"""Of a pass: an encoder that reads no more has a damaged config."""
_FRACTION_BITS = 30
_MEND = "Name another model."
Kind = TypeVar("Kind")


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
    """Whether `folder` holds an encoder rather than a static model. Raises ValueError if its list of modules cannot be
    read."""
    if (folder / MODULES_FILE).is_file():
        return any(module.kind == "Transformer" for module in _modules(folder))
    is_model = (folder / CONFIG_FILE).is_file() and _read(folder / CONFIG_FILE, _Config).model_type != "model2vec"
    return is_model and not _has_table(folder)


def load_encoder(folder: Path) -> EncoderModel:
    """The model in `folder`. Raises ValueError if it cannot be used."""
    return EncoderModel(read_encoder(folder))


def read_encoder(folder: Path) -> Encoder:
    """What the files in `folder` say. Raises ValueError if one is missing, or the model is of a kind that cannot be
    used."""
    paths = {module.kind: folder / module.path for module in _modules(folder)}
    inner = paths.get("Transformer", folder)
    required = [inner / name for name in (CONFIG_FILE, WEIGHTS_FILE, TOKENIZER_FILE)]
    if "Pooling" in paths:
        required.append(paths["Pooling"] / CONFIG_FILE)
    for file in required:
        if not file.is_file():
            raise ValueError(f"{file.parent} has no {file.name}. Name the folder of an embedding model.")
    config = _read(inner / CONFIG_FILE, _Config)
    _require_usable(inner, config)
    optional = (inner / LENGTH_FILE, folder / PROMPTS_FILE, folder / MODULES_FILE)
    return Encoder(
        inner,
        _max_tokens(inner, config),
        _pooling(required[3]) if "Pooling" in paths else "mean",
        _prompt(folder),
        (*required, *(file for file in optional if file.is_file())),
    )


class _Config(BaseModel):
    """Of `transformers`; some architectures call the width `dim`."""

    model_type: str = ""
    hidden_size: int | None = None
    dim: int | None = None
    vocab_size: int | None = None
    max_position_embeddings: int | None = None
    pad_token_id: int | None = None
    is_encoder_decoder: bool = False
    auto_map: Any = None


class _Module(BaseModel):
    """A part of a model of sentence-transformers, in a folder below the model's."""

    type: str
    path: Annotated[str, Field(pattern=r"^[\w-]*$")] = ""

    @property
    def kind(self) -> str:
        return self.type.rpartition(".")[2]


class _Length(BaseModel):
    max_seq_length: int | None = None


class _Prompts(BaseModel):
    prompts: dict[str, str] = {}
    default_prompt_name: str | None = None


def _modules(folder: Path) -> list[_Module]:
    """Nothing without a list of modules."""
    file = folder / MODULES_FILE
    modules = _read(file, list[_Module]) if file.is_file() else []
    for module in modules:
        if "Transformer" in (each.kind for each in modules) and module.kind not in MODULES:
            raise ValueError(f"{file}: {module.kind} is not supported; {', '.join(MODULES)} are. {_MEND}")
    return modules


def _require_usable(folder: Path, config: _Config) -> None:
    file, width = folder / CONFIG_FILE, config.hidden_size or config.dim
    if config.auto_map:
        raise ValueError(f"{file}: auto_map names code of the model's own, which never runs. {_MEND}")
    if config.is_encoder_decoder:
        raise ValueError(f"{file}: the model has a decoder. {_MEND}")
    if width is None or not 0 < width <= MAX_WIDTH:
        raise ValueError(f"{file}: hidden_size = {width}: must be 1 to {MAX_WIDTH}. {_MEND}")
    size = vocab_size(read_tokenizer(folder / TOKENIZER_FILE))
    if config.vocab_size is not None and size > config.vocab_size:
        raise ValueError(
            f"{folder / TOKENIZER_FILE} has {size} ids, {CONFIG_FILE} {config.vocab_size}. Bring files of one model."
        )


def _max_tokens(folder: Path, config: _Config) -> int:
    limits = [_read(folder / LENGTH_FILE, _Length).max_seq_length] if (folder / LENGTH_FILE).is_file() else []
    if config.max_position_embeddings is not None:
        offset = 0
        if config.model_type in OFFSET_POSITIONS:
            offset = (1 if config.pad_token_id is None else config.pad_token_id) + 1
        limits.append(config.max_position_embeddings - offset)
    tokens = min((limit for limit in limits if limit is not None), default=0)
    if tokens < FEWEST_TOKENS:
        raise ValueError(
            f"{folder}: {LENGTH_FILE} and {CONFIG_FILE} let it read {tokens} tokens, less than {FEWEST_TOKENS}. {_MEND}"
        )
    return tokens


def _pooling(file: Path) -> Literal["mean", "cls"]:
    stated = _read(file, dict[str, Any])
    modes = sorted(name for name, value in stated.items() if name.startswith("pooling_mode") and value is True)
    if len(modes) != 1 or modes[0] not in POOLINGS:
        raise ValueError(f"{file}: {', '.join(modes) or 'no pooling'}: {' or '.join(POOLINGS)} is supported. {_MEND}")
    return POOLINGS[modes[0]]


def _prompt(folder: Path) -> str:
    """The text that the model wants before every other."""
    stated = _read(folder / PROMPTS_FILE, _Prompts) if (folder / PROMPTS_FILE).is_file() else _Prompts()
    return stated.prompts.get(stated.default_prompt_name or "", "")


def _has_table(folder: Path) -> bool:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(folder / WEIGHTS_FILE, framework="numpy") as tensors:
            return not set(MATRICES).isdisjoint(tensors.keys())
    except (OSError, SafetensorError):
        return False


def _read(file: Path, kind: type[Kind]) -> Kind:
    try:
        return TypeAdapter(kind).validate_json(file.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise ValueError(
            f"{file}: {field + ': ' if field else ''}{first['msg']}. Bring the file of the model."
        ) from None
