"""Compares an export with its source model: an engine loads it in a separate process and answers.

The programs in `engines/` take a folder or file, a request and the file for the answer. The request is JSON:

    dtype             of the engine's weights
    prompts           texts, each with the ids that the model reads for it
    max_new_tokens    length of a greedy continuation
    end               ids that end it
    engine            optional settings of the engine

The answer is a NumPy archive: `version` of the engine; for each prompt, the ids that the engine's own tokenizer gives,
the logits [T, V] after each of the requested ids, and the greedy continuation.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from arctic_model.export.errors import ValidationError
from arctic_model.model import ArcticModel

ENGINES = Path(__file__).parent / "engines"
LOGIT_TOLERANCE = 1e-4
"""Of float32, relative to the largest logit if that is above 1: the error of a different order of summation."""
TIE = 1e-5
"""Two likeliest tokens that are closer, on the same scale, are no choice: the order of sums decides between them."""
ERROR_LINES = 15


@dataclass(frozen=True)
class Prompt:
    """A text, and the ids that the model reads for it."""

    text: str
    ids: tuple[int, ...]


@dataclass(frozen=True)
class Request:
    """A request to an engine. `settings`: arguments of the engine's own."""

    prompts: Sequence[Prompt]
    end: Sequence[int]
    dtype: str = "float32"
    max_new_tokens: int = 16
    settings: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """The file that the programs in `engines/` read."""
        return json.dumps(
            {
                "dtype": self.dtype,
                "prompts": [{"text": prompt.text, "ids": prompt.ids} for prompt in self.prompts],
                "max_new_tokens": self.max_new_tokens,
                "end": list(self.end),
                "engine": dict(self.settings),
            }
        )


@dataclass(frozen=True)
class Answer:
    """By prompt: ids of the engine's own tokenizer, logits [T, V] and greedy continuation."""

    version: str
    ids: Sequence[list[int]]
    logits: Sequence[Tensor]
    greedy: Sequence[list[int]]


@dataclass(frozen=True)
class Agreement:
    """How an engine's logits compare with the model's over `tokens` positions.

    `max_difference`: largest difference of two logits, relative to the largest logit if that is above 1;
    `argmax_share`: share of positions with the same likeliest token, up to TIE; `mean_kl`: of the engine's distribution
    from the model's, nats per token; `bits_per_byte` of the prompts by the model, and `engine_bits_per_byte` by the
    engine; `greedy_share`: continuations that are equal, token for token.
    """

    engine: str
    tokens: int
    max_difference: float
    argmax_share: float
    mean_kl: float
    bits_per_byte: float
    engine_bits_per_byte: float
    greedy_share: float

    def metrics(self) -> dict[str, float]:
        """By name, without the engine's."""
        return {name: float(value) for name, value in vars(self).items() if name != "engine"}


@torch.inference_mode()
def ask_model(model: ArcticModel, request: Request) -> Answer:
    """The answer of the model itself."""
    logits = [model(torch.tensor([prompt.ids]))[0].float() for prompt in request.prompts]
    prompts = [prompt.ids for prompt in request.prompts]
    greedy = model.generate(prompts, request.max_new_tokens, end_ids=request.end)
    return Answer("arctic_model", [list(prompt.ids) for prompt in request.prompts], logits, greedy)


def ask_engine(engine: str, export: Path, request: Request, python: str = sys.executable) -> Answer:
    """The answer of an engine to `request`.

    Args:
        engine: name of a program in `engines/`, without its suffix.
        export: folder or file that it loads.
        request: the prompts and options.
        python: interpreter of an environment that holds the engine.

    Raises:
        ValidationError: if the engine fails, with the end of its error output.
    """
    with tempfile.TemporaryDirectory(prefix="arctic-engine-") as folder:
        asked, answered = Path(folder, "request.json"), Path(folder, "answer.npz")
        asked.write_text(request.to_json(), encoding="utf-8")
        # transformers copies modeling files before it imports them: here, and not into the user's cache.
        environment = os.environ | {"HF_MODULES_CACHE": str(Path(folder, "modules")), "HF_HUB_OFFLINE": "1"}
        command = [python, str(ENGINES / f"{engine}.py"), str(export), str(asked), str(answered)]
        done = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        if done.returncode:
            last = "\n".join(done.stderr.strip().splitlines()[-ERROR_LINES:])
            raise ValidationError(f"{export}: {engine} ended with code {done.returncode}:\n{last}")
        return _read_answer(answered, len(request.prompts))


def compare(request: Request, ours: Answer, theirs: Answer) -> Agreement:
    """How `theirs` agrees with `ours`. Raises ValidationError if the engine's tokenizer gives other ids for a text."""
    for prompt, ids in zip(request.prompts, theirs.ids, strict=True):
        if list(prompt.ids) != ids:
            raise ValidationError(
                f"{theirs.version} reads {prompt.text!r} as {ids}, and the model as {list(prompt.ids)}: the tokenizers "
                "differ."
            )
    mine, other = torch.cat(list(ours.logits)), torch.cat(list(theirs.logits))
    log_p, log_q = mine.double().log_softmax(-1), other.double().log_softmax(-1)
    num_bytes = sum(len(prompt.text.encode()) for prompt in request.prompts)
    pairs = list(zip(ours.greedy, theirs.greedy, strict=True))
    return Agreement(
        engine=theirs.version,
        tokens=len(mine),
        max_difference=float((mine - other).abs().max() / mine.abs().max().clamp(min=1)),
        argmax_share=float(_same_choice(mine, other).double().mean()),
        mean_kl=float(F.kl_div(log_q, log_p, log_target=True, reduction="none").sum(-1).mean()),
        bits_per_byte=_bits(request, ours) / num_bytes,
        engine_bits_per_byte=_bits(request, theirs) / num_bytes,
        greedy_share=sum(first == second for first, second in pairs) / len(pairs),
    )


def require_agreement(agreement: Agreement, max_kl: float | None) -> None:
    """Raise ValidationError if the engine computes another model.

    Args:
        agreement: of the engine with the model.
        max_kl: limit of the mean divergence in nats per token, of a lower precision. None asks for the same numbers:
            logits within LOGIT_TOLERANCE, and the same likeliest token everywhere.
    """
    if max_kl is None:
        is_same = agreement.max_difference <= LOGIT_TOLERANCE and agreement.argmax_share == 1.0
        limit = f"at most {LOGIT_TOLERANCE:g} and 100 %"
    else:
        is_same, limit = agreement.mean_kl <= max_kl, f"a mean KL of at most {max_kl:g}"
    if not is_same:
        raise ValidationError(
            f"{agreement.engine} computes another model: logits differ by up to {agreement.max_difference:.2g}, "
            f"{agreement.argmax_share:.2%} of the likeliest tokens are equal, mean KL {agreement.mean_kl:.2g}; the "
            f"limit is {limit}. Nothing was exported."
        )


def _same_choice(mine: Tensor, other: Tensor) -> Tensor:
    """bool [tokens]: whether the likeliest tokens are equal, or the model itself has two of them."""
    first, second = mine.topk(2, dim=-1).values.unbind(-1)
    return (mine.argmax(-1) == other.argmax(-1)) | (first - second <= TIE * mine.abs().max().clamp(min=1))


def _read_answer(file: Path, count: int) -> Answer:
    with np.load(file, allow_pickle=False) as stored:
        return Answer(
            str(stored["version"]),
            [stored[f"ids_{number}"].tolist() for number in range(count)],
            [torch.from_numpy(stored[f"logits_{number}"].astype(np.float32)) for number in range(count)],
            [stored[f"greedy_{number}"].tolist() for number in range(count)],
        )


def _bits(request: Request, answer: Answer) -> float:
    """Of all prompts, each from its first token on, which nothing predicts."""
    losses = [
        F.cross_entropy(logits[:-1], torch.tensor(prompt.ids[1:]), reduction="sum")
        for prompt, logits in zip(request.prompts, answer.logits, strict=True)
    ]
    return float(torch.stack(losses).sum()) / float(np.log(2))
