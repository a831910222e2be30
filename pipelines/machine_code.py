"""The kernels of a CPU, compiled before a run needs them."""

import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from arctic_model import ArcticModel

WORDS = "The river rose in the night, and the people of the village went down to see it. "
CODE = "def rise(river):\n    # By one.\n    return river + 1\n"


def compile_kernels() -> None:
    """Let a small model answer, and score and deduplicate a few words, so that the machine code of the kernels is kept.

    As many processes as there are CPUs, up to four, do so side by side.
    """
    uses: tuple[Callable[[], None], ...] = (_decode, _decode_bfloat16, _score, _deduplicate)
    with ProcessPoolExecutor(min(len(uses), os.cpu_count() or 1), get_context("spawn")) as processes:
        for done in [processes.submit(use) for use in uses]:
            done.result()


def _score() -> None:
    from pipelines.score.from_recipe import score_documents

    score_documents([WORDS, CODE])


def _deduplicate() -> None:
    import pyarrow as pa

    from pipelines.dedup.deduplicate import deduplicate

    deduplicate(pa.table({"text": [8 * WORDS, 8 * WORDS + "It rained."]}))


def _decode() -> None:
    from arctic_model import ArcticModel, preset

    _answer(ArcticModel(preset("tiny"), seed=0))


def _decode_bfloat16() -> None:
    from arctic_model import ArcticModel, preset

    _answer(ArcticModel(preset("tiny"), seed=0).bfloat16())


def _answer(model: "ArcticModel") -> None:
    """One question has passes of its own."""
    for num_questions in (1, 2):
        model.generate([[1, 2, 3]] * num_questions, max_new_tokens=2)
