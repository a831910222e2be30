"""The page of a run recipe that fits the corpora and the machine: vocabulary, budgets, model and batch."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from arctic_model.presets import preset
from arctic_model.sizing import count_parameters
from pipelines.draft.corpus import DraftedCorpus
from pipelines.draft.pages import Choice
from pipelines.draft.survey import CHAT
from pipelines.errors import OptionError


@dataclass(frozen=True)
class Scale:
    """A model and its training for one class of machines and sizes of data. `max_tokens`: that such a machine can train
    on in about ten minutes (a CPU) or a day (a GPU)."""

    preset: str
    sequence_length: int
    global_batch_sequences: int
    micro_batch_sequences: int
    peak_lr: float
    max_tokens: float
    max_vocab_size: int
    train: Mapping[str, Any]

    @property
    def step_tokens(self) -> int:
        """Tokens of an optimizer step."""
        return self.sequence_length * self.global_batch_sequences


ONE_CPU_EACH = {"cpus_per_worker": 0.75}
MINIATURE = Scale("tiny", 64, 4, 2, 0.003, 2e6, 512, ONE_CPU_EACH)
LAPTOP = Scale("quickstart", 256, 8, 4, 0.01, 2e6, 4096, ONE_CPU_EACH)
ONE_GPU = Scale("arctic-1.4b-a150m", 4096, 64, 4, 0.002, 4e9, 32_000, {"gpus_per_worker": 1.0, "dtype": "bfloat16"})
MIN_STEPS = 40
"""Steps below which a smaller scale suits the data."""
MAX_WORKERS = 2
"""Workers on a CPU: more of the smallest models wait for each other."""
BYTES_PER_TOKEN = 3.0
"""Of a small vocabulary; a larger one makes fewer tokens."""
KEPT_SHARE = 0.7
"""Of a corpus' bytes, after filter and dedup."""
TRAINED_SHARE = 0.5
"""Tokens to train on as a share of the estimated tokens. Estimates may be wrong by the fourfold before a corpus is read
more often than the four times that a recipe allows."""
SIZE_POWER = 0.7
VOCABULARIES: Sequence[tuple[float, int]] = ((3e5, 512), (2e6, 1024), (2e7, 2048), (2e8, 4096), (2e9, 16_384))
"""Text bytes up to which a vocabulary of this size is trained; 32,000 beyond."""
SAMPLE_BYTES = 2e6
HELDOUT_BYTES = 80_000
FINETUNE_EPOCHS = 2.0
GENERAL_SHARE = 0.7
"""Share of the tokens of the first of two phases."""


def run_page(name: str, corpora: Sequence[DraftedCorpus], num_cpus: int, num_gpus: int) -> dict[str, Any]:
    """The run recipe over corpus recipes in the same folder: pretraining on texts, then a fine-tune on conversations.
    Raises OptionError if there is too little text."""
    texts = [corpus for corpus in corpora if corpus.group.kind != CHAT]
    sizes = {corpus.name: corpus.train_bytes * KEPT_SHARE for corpus in texts}
    scale, num_steps = _scale(sizes, num_gpus)
    num_workers = 1 if num_gpus else min(MAX_WORKERS, max(1, num_cpus))
    phases = _phases(sizes, num_steps, scale.step_tokens)
    chats = [corpus.name for corpus in corpora if corpus not in texts]
    return {
        "name": name,
        "description": f"A model of {', '.join(corpus.name for corpus in corpora)}",
        "corpora": [f"{corpus.name}.toml" for corpus in corpora],
        "tokenizer": _tokenizer(sizes, scale),
        "tokenize": {"sequence_length": scale.sequence_length},
        "phases": phases,
        "model": {"preset": Choice(scale.preset, _parameters(scale.preset))},
        "train": {
            "num_workers": num_workers,
            "expert_parallel_size": num_workers,
            "global_batch_sequences": scale.global_batch_sequences,
            "micro_batch_sequences": min(scale.micro_batch_sequences, scale.global_batch_sequences // num_workers),
            "peak_lr": scale.peak_lr,
            "warmup_tokens": max(1, num_steps // 20) * scale.step_tokens,
            **scale.train,
        },
        **({"finetune": [_finetune(chats, phases[-1]["name"], scale)]} if chats else {}),
        "evaluate": {
            "heldout_bytes_per_corpus": HELDOUT_BYTES,
            "heldout_bytes_per_document": 2000,
            **({"gpus_per_actor": 1.0} if num_gpus else {}),
        },
    }


def _finetune(chats: Sequence[str], base: str, scale: Scale) -> dict[str, Any]:
    return {
        "name": "instruct",
        "from": base,
        "epochs": dict.fromkeys(chats, FINETUNE_EPOCHS),
        "peak_lr": Choice(scale.peak_lr / 5, "a fifth of the pretraining's"),
    }


def _scale(sizes: Mapping[str, float], num_gpus: int) -> tuple[Scale, int]:
    """The largest scale that has enough text, and its number of steps. Raises OptionError."""
    tokens = TRAINED_SHARE * sum(sizes.values()) / BYTES_PER_TOKEN
    for scale in (ONE_GPU, LAPTOP, MINIATURE) if num_gpus else (LAPTOP, MINIATURE):
        num_steps = math.floor(min(scale.max_tokens, tokens) / scale.step_tokens)
        if num_steps >= MIN_STEPS:
            return scale, num_steps
    least = MIN_STEPS * MINIATURE.step_tokens * BYTES_PER_TOKEN / TRAINED_SHARE / KEPT_SHARE
    raise OptionError(
        f"about {sum(sizes.values()) / KEPT_SHARE / 1e3:.0f} kB of text: too little for the smallest model. Name more "
        f"files, {least / 1e3:.0f} kB of text or more."
    )


def _tokenizer(sizes: Mapping[str, float], scale: Scale) -> dict[str, Any]:
    total = sum(sizes.values())
    size = min(scale.max_vocab_size, next((size for limit, size in VOCABULARIES if total <= limit), 32_000))
    return {
        "vocab_size": Choice(size, f"for about {total / 1e6:.2g} MB of text"),
        "sample_bytes_per_corpus": int(SAMPLE_BYTES * max(1, size // VOCABULARIES[-2][1])),
    }


def _phases(sizes: Mapping[str, float], num_steps: int, step_tokens: int) -> list[dict[str, Any]]:
    """One phase over one corpus; over several, one by their sizes and one that gives the small ones more."""
    most = {name: size / BYTES_PER_TOKEN / (num_steps * step_tokens) for name, size in sizes.items()}
    by_size = shares({name: size**SIZE_POWER for name, size in sizes.items()}, most)
    if len(sizes) == 1:
        return [{"name": "general", "tokens": num_steps * step_tokens, "weights": by_size}]
    first = round(GENERAL_SHARE * num_steps)
    return [
        {"name": "general", "tokens": first * step_tokens, "weights": by_size},
        {
            "name": "focus",
            "tokens": (num_steps - first) * step_tokens,
            "weights": Choice(shares(dict.fromkeys(sizes, 1.0), most), "raise the corpora that the model is for"),
        },
    ]


def shares(sizes: Mapping[str, float], most: Mapping[str, float]) -> dict[str, float]:
    """Shares in proportion to `sizes`, none above its own of `most`, that sum to exactly 1 at three digits.

    >>> shares({"web": 1.0, "notes": 1.0}, {"web": 5.0, "notes": 0.1})
    {'web': 0.9, 'notes': 0.1}
    """
    capped: dict[str, float] = {}
    while True:
        free = {name: size for name, size in sizes.items() if name not in capped}
        left = 1.0 - sum(capped.values())
        result = {name: left * size / sum(free.values()) for name, size in free.items()}
        above = {name: most[name] for name, share in result.items() if share > most[name]}
        if not above or len(above) == len(free):
            break
        capped |= above
    rounded = {name: math.floor(1000 * (capped | result)[name]) / 1000 for name in sizes}
    largest = max(rounded, key=lambda name: most[name] - rounded[name])
    rounded[largest] = round(rounded[largest] + 1.0 - sum(rounded.values()), 3)
    return rounded


def _parameters(name: str) -> str:
    count = count_parameters(preset(name))
    return f"about {count.total / 1e6:,.1f}M parameters, {count.active / 1e6:,.1f}M active"
