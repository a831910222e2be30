"""The decoding engine: continuous batching (Yu et al. 2022, Orca) over slots of cached keys and values.

    waiting requests -> one that is read, a block of its prompt a step -> up to `max_batch` that grow by an id a step

A step reads one block of one prompt and then adds an id to every answer that grows, so a long prompt holds up nobody
for longer than a block takes. Growing answers occupy the first slots, and the prompt that is read the next one: the
pass over all of them reads one contiguous part of memory. An answer that ends leaves its slot to the last one.
"""

from collections import deque
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from arctic_model.inference.completion import Completion, Request
from arctic_model.inference.language_model import LanguageModel, added_mask
from arctic_model.inference.prefix_cache import PrefixCache
from arctic_model.inference.sampling import GenerationError


class Engine:
    """Answers requests on one model, many at a time.

    The passes over a prompt have shapes that follow from the prompt alone. With `max_batch` = 1 so have those over the
    answer: it is then the same to the bit in any company. In larger batches it is the same but for rounding, which may
    decide between two ids that are equally probable.

    Args:
        model: reads ids and gives logits.
        decode: text of ids, for stops and streams.
        end_ids: ids that end an answer.
        max_batch: answers that grow side by side.
        capacity: ids of a prompt with its answer; by default the model's positions.

    Raises:
        GenerationError: if `capacity` is more than the model has positions.
    """

    def __init__(
        self,
        model: LanguageModel,
        *,
        decode: Callable[[Sequence[int]], str] = lambda _: "",
        end_ids: frozenset[int] = frozenset(),
        max_batch: int = 1,
        capacity: int | None = None,
    ) -> None:
        self.capacity = capacity or model.max_positions
        if self.capacity > model.max_positions:
            raise GenerationError(f"capacity = {capacity}: the model has {model.max_positions} positions. Lower it.")
        self._model = model
        self._decode = decode
        self._end_ids = end_ids
        self._max_batch = max_batch if model.sees_masks else 1
        self._cache = PrefixCache(model, self.capacity, self._max_batch)
        self._waiting: deque[Completion] = deque()
        self._reading: Completion | None = None
        self._growing: list[Completion] = []

    @property
    def num_running(self) -> int:
        """Requests that hold a slot."""
        return len(self._growing) + (self._reading is not None)

    @property
    def num_waiting(self) -> int:
        """Requests without a slot."""
        return len(self._waiting)

    def add(self, request: Request) -> Completion:
        """Take a request. Its answer grows with every `step`.

        Raises:
            GenerationError: if prompt and answer exceed the capacity, or an id the vocabulary.
        """
        self.require_answerable(request)
        completion = Completion.of(request, self._decode)
        if completion.finish is None:
            self._waiting.append(completion)
        return completion

    def require_answerable(self, request: Request) -> None:
        """Raise GenerationError if prompt and answer exceed the capacity, or an id the vocabulary."""
        first, last = min(request.prompt), max(request.prompt)
        if first < 0 or last >= self._model.vocab_size:
            raise GenerationError(
                f"prompt: its ids reach from {first} to {last}, and those of the model from 0 to "
                f"{self._model.vocab_size - 1}. Encode the text with the model's own tokenizer."
            )
        length = len(request.prompt) + request.max_new_tokens
        if length > self.capacity:
            raise GenerationError(
                f"a prompt of {len(request.prompt)} tokens and max_new_tokens = {request.max_new_tokens} exceed the "
                f"{self.capacity} positions that a sequence may have. Shorten one of the two."
            )

    def cancel(self, completion: Completion) -> None:
        """End an answer that nobody waits for, and free its slot."""
        if completion.finish is None:
            completion.finish = "cancelled"
            self._remove_finished()

    @torch.inference_mode()
    def step(self) -> bool:
        """Read one block of a prompt, and add an id to every answer that grows.

        Returns:
            Whether there is more to do.

        Raises:
            GenerationError: if the model's logits are not finite.
        """
        if self._reading is None and self._waiting and len(self._growing) < self._max_batch:
            self._start(self._waiting.popleft())
        if self._reading is not None:
            self._read(self._reading)
        if self._growing:
            self._grow()
        return bool(self._growing or self._waiting or self._reading)

    def run(self, requests: Sequence[Request]) -> list[Completion]:
        """The finished answers to all requests, in order."""
        completions = [self.add(request) for request in requests]
        while any(completion.finish is None for completion in completions):
            self.step()
        return completions

    def _start(self, completion: Completion) -> None:
        """Give a request the first free slot, with what any slot holds of its beginning."""
        self._reading = completion
        prefix = self._prefix(completion)
        if completion.request.scores_prompt:
            self._cache.occupy(len(self._growing), prefix[:0])
        else:
            completion.num_shared = self._cache.occupy(len(self._growing), prefix)

    def _prefix(self, completion: Completion) -> np.ndarray:
        """The whole blocks of the prompt, without its last id, which gives the first logits."""
        ids = np.array(completion.request.prompt, dtype=np.int64)
        return ids[: self._cache.blocks(len(ids) - 1)]

    def _read(self, completion: Completion) -> None:
        """Read a block of the prompt; with the rest behind the last block comes the first id of the answer."""
        slot, prefix, scores = len(self._growing), self._prefix(completion), completion.request.scores_prompt
        start = self._cache.held(slot)
        if start < len(prefix):
            logits = self._cache.read(slot, prefix, start, with_logits=scores)
        else:
            logits = self._read_rest(completion, slot, start)
            self._reading = None
            self._growing.append(completion)
            completion.extend(logits[-1], self._end_ids)
        if scores:
            completion.score_prompt(logits, start)
        self._remove_finished()

    def _read_rest(self, completion: Completion, slot: int, start: int) -> Tensor:
        """Logits behind the last id of the prompt, or behind all ids from `start` on."""
        device = self._model.device
        ids = torch.tensor([list(completion.request.prompt[start:])], device=device)
        count = ids.shape[1]
        positions = torch.arange(start, start + count, device=device)[None]
        visible = torch.ones(count, start + count, dtype=torch.bool, device=device).tril(start)
        first = 0 if completion.request.scores_prompt else count - 1
        keep = torch.arange(first, count, device=device)
        view = self._cache.row(slot, start)
        return self._model.logits(ids, positions, added_mask(visible)[None, None], keep, view)

    def _grow(self) -> None:
        """Give the last id of every growing answer to the model, and choose the next."""
        device = self._model.device
        # The last id is not in the cache yet.
        lengths = [_length(each) - 1 for each in self._growing]
        ids = torch.tensor([[each.ids[-1]] for each in self._growing], device=device)
        positions = torch.tensor(lengths, device=device)[:, None]
        mask = added_mask(torch.arange(max(lengths) + 1, device=device) <= positions)[:, None, None]
        view = self._cache.row(0, lengths[0]) if len(lengths) == 1 else self._cache.rows(lengths)
        logits = self._model.logits(ids, positions, mask, torch.arange(len(lengths), device=device), view)
        for completion, row in zip(self._growing, logits, strict=True):
            completion.extend(row, self._end_ids)
        self._remove_finished()

    def _remove_finished(self) -> None:
        self._waiting = deque(each for each in self._waiting if each.finish is None)
        if self._reading is not None and self._reading.finish is not None:
            self._reading = None
        for slot in reversed(range(len(self._growing))):
            if self._growing[slot].finish is not None:
                self._remove(slot)

    def _remove(self, slot: int) -> None:
        """Let the last growing answer take the slot, and the prompt that is read its slot."""
        last = len(self._growing) - 1
        removed, moved = self._growing[slot], self._growing.pop()
        self._cache.swap(slot, last, max(_length(removed), _length(moved)))
        if slot < last:
            self._growing[slot] = moved
        if self._reading is not None:
            self._cache.swap(last, last + 1, max(_length(removed), self._cache.held(last + 1)))


def _length(completion: Completion) -> int:
    return len(completion.request.prompt) + len(completion.ids)
