"""Log-likelihoods of the continuations of one question, or of many questions in one pass."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch

from arctic_model.inference.cache.prefix_cache import PrefixCache
from arctic_model.inference.cache.prefix_tree import Tree, common_length, num_rows, plant
from arctic_model.inference.language_model import CacheView, added_mask
from pipelines.evaluate.engine.encoding import Pair, Window, encode_pairs, windows
from pipelines.evaluate.engine.requests import Likelihood, LogLikelihood
from pipelines.models.text_model import TextModel

MAX_ROWS = 2048
"""Ids of one pass without a prefix: a mask of 16 MiB. Behind a prefix there are fewer, so that the mask is no larger. A
question with more is read in several trees."""
Scored = tuple[float, bool]


class _Encoded(NamedTuple):
    """A request as the model reads it."""

    windows: list[Window]
    num_truncated: int
    pair: Pair


class LikelihoodScorer:
    """Scores questions on one model.

    A question is the requests of one item: their common prefix is read once. Alone, a question's passes have shapes
    that follow from the question and nothing else, so its numbers do not depend on other questions, to the bit; a
    matrix product of other height may round its rows differently. In `batched` mode several questions share a pass,
    padded to the longest: faster on a GPU, and the same numbers except for rounding.
    """

    def __init__(self, model: TextModel, *, batched: bool = False) -> None:
        self._model = model
        self._prefixes = PrefixCache(model, model.max_positions + MAX_ROWS)
        self._batched = batched and model.sees_masks
        self.num_rows = 0

    @property
    def num_read(self) -> int:
        """Ids that passed through the model so far."""
        return self.num_rows + self._prefixes.num_read

    @torch.inference_mode()
    def score(self, questions: Sequence[Sequence[LogLikelihood]]) -> list[list[Likelihood]]:
        """The answers to the requests of each question. Raises ValueError if a log-probability of the model is not a
        number."""
        encoded = [self._encode(question) for question in questions]
        flat = [[window for request in question for window in request.windows] for question in encoded]
        scores = self._together(flat) if self._batched else [self._alone(question) for question in flat]
        return [_likelihoods(question, iter(scored)) for question, scored in zip(encoded, scores, strict=True)]

    def _encode(self, question: Sequence[LogLikelihood]) -> list["_Encoded"]:
        pairs = encode_pairs(self._model.codec, question)
        return [_Encoded(*_windows(pair, self._model.max_positions), pair) for pair in pairs]

    def _alone(self, question: Sequence[Window]) -> list[Scored]:
        if not self._model.sees_masks:
            return [scored for window in question for scored in self._with_prefix([window])]
        return [scored for part in _parts(question, self._start) for scored in self._with_prefix(part)]

    def _with_prefix(self, part: Sequence[Window]) -> list[Scored]:
        start, inputs = self._start(part), _inputs(part)
        tree = plant([ids[start:] for ids in inputs], start)
        cache = self._prefixes.hold(inputs[0][:start])
        return self._pass([(part, tree)], cache)[0]

    def _start(self, part: Sequence[Window]) -> int:
        """How many ids of all windows are read before them as a prefix."""
        inputs = _inputs(part)
        shared = min(common_length(inputs[0], other) for other in inputs)
        first_scored = min(len(ids) - window.num_scored for ids, window in zip(inputs, part, strict=True))
        return self._prefixes.blocks(min(shared, first_scored))

    def _together(self, questions: Sequence[Sequence[Window]]) -> list[list[Scored]]:
        """Trees of similar size share a pass."""
        parts = [(number, part) for number, question in enumerate(questions) for part in _parts(question, _no_prefix)]
        trees = [(part, plant(_inputs(part))) for _, part in parts]
        by_part: dict[int, list[Scored]] = {}
        for batch in _batches([len(tree.ids) for _, tree in trees]):
            for index, scored in zip(batch, self._pass([trees[index] for index in batch], None), strict=True):
                by_part[index] = scored
        scores: list[list[Scored]] = [[] for _ in questions]
        for index, (number, _) in enumerate(parts):
            scores[number] += by_part[index]
        return scores

    def _pass(self, trees: Sequence[tuple[Sequence[Window], Tree]], cache: CacheView | None) -> list[list[Scored]]:
        height, start = max(len(tree.ids) for _, tree in trees), cache.length if cache else 0
        ids, positions = np.zeros((2, len(trees), height), dtype=np.int64)
        # Padding sees itself, so that no row is without a key.
        visible = np.broadcast_to(
            np.eye(height, start + height, start, dtype=bool), (len(trees), height, start + height)
        ).copy()
        for number, (_, tree) in enumerate(trees):
            size = len(tree.ids)
            ids[number, :size], positions[number, :size] = tree.ids, tree.positions
            visible[number, :size, :start] = True
            visible[number, :size, start : start + size] = tree.visible
        rows, targets = _scored_rows(trees, height)
        keep, kept_rows = np.unique(np.concatenate(rows), return_inverse=True)
        device = self._model.device
        tensors = (torch.from_numpy(array).to(device) for array in (ids, positions, visible, keep))
        moved_ids, moved_positions, moved_visible, moved_keep = tensors
        logits = self._model.logits(moved_ids, moved_positions, added_mask(moved_visible)[:, None], moved_keep, cache)
        self.num_rows += ids.size
        target_log_probabilities, best = _gather(logits, kept_rows, np.concatenate(targets))
        return _split(trees, target_log_probabilities, best)


def _windows(pair: Pair, max_positions: int) -> tuple[list[Window], int]:
    return ([], 0) if pair.encoded == "not" else windows(pair.context, pair.continuation, max_positions)


def _parts(question: Sequence[Window], start: Callable[[Sequence[Window]], int]) -> Iterator[list[Window]]:
    """The question's windows in order, in parts whose masks stay within MAX_ROWS squared. `start`: length of the prefix
    that is read before the tree of a part."""
    part: list[Window] = []
    for window in question:
        if part and not _fits([*part, window], start([*part, window])):
            yield part
            part = []
        part.append(window)
    if part:
        yield part


def _fits(part: Sequence[Window], start: int) -> bool:
    rows = num_rows([ids[start:] for ids in _inputs(part)])
    return rows * (start + rows) <= MAX_ROWS**2


def _no_prefix(_: Sequence[Window]) -> int:
    return 0


def _inputs(part: Sequence[Window]) -> list[np.ndarray]:
    return [np.array(window.ids[:-1], dtype=np.int64) for window in part]


def _batches(sizes: Sequence[int]) -> Iterator[list[int]]:
    """Longest first, in batches whose rows including padding stay within MAX_ROWS."""
    batch: list[int] = []
    for index in sorted(range(len(sizes)), key=lambda index: (-sizes[index], index)):
        if batch and (len(batch) + 1) * sizes[batch[0]] > MAX_ROWS:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def _scored_rows(
    trees: Sequence[tuple[Sequence[Window], Tree]], height: int
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """For each window the rows, counted through the batch, whose logits predict its scored ids; and those ids."""
    rows, targets = [], []
    for number, (part, tree) in enumerate(trees):
        for window, path in zip(part, tree.paths, strict=True):
            rows.append(number * height + path[-window.num_scored :])
            targets.append(np.array(window.ids[-window.num_scored :], dtype=np.int64))
    return rows, targets


def _gather(logits: torch.Tensor, kept_rows: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Log-probability of each target, and whether it is the most probable id."""
    rows, target_ids = torch.from_numpy(kept_rows).to(logits.device), torch.from_numpy(targets).to(logits.device)
    log_probabilities = logits.log_softmax(-1)
    gathered = log_probabilities[rows, target_ids].double().cpu().numpy()
    if not np.isfinite(gathered).all():
        raise ValueError(
            "the model gives no finite log-probability: its weights have diverged. Use an earlier checkpoint."
        )
    return gathered, (logits.argmax(-1)[rows] == target_ids).cpu().numpy()


def _split(trees: Sequence[tuple[Sequence[Window], Tree]], values: np.ndarray, best: np.ndarray) -> list[list[Scored]]:
    scores, start = [], 0
    for part, _ in trees:
        scored = []
        for window in part:
            end = start + window.num_scored
            scored.append((float(values[start:end].sum()), bool(best[start:end].all())))
            start = end
        scores.append(scored)
    return scores


def _likelihoods(question: Sequence[_Encoded], scores: Iterator[Scored]) -> list[Likelihood]:
    answers = []
    for request in question:
        parts = [next(scores) for _ in request.windows]
        log_probability = sum(part[0] for part in parts) if parts else -np.inf
        is_greedy = bool(parts) and all(part[1] for part in parts)
        pair = request.pair
        answers.append(
            Likelihood(log_probability, is_greedy, request.num_truncated, pair.encoded, len(pair.continuation))
        )
    return answers
