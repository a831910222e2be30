"""The decoding engine: continuous batching (Yu et al. 2022, Orca) over slots of cached keys and values.

    waiting requests -> prompts, read by a block of each a step -> up to `max_batch` answers, growing by an id a step

A step reads a block of each unread prompt, of as many prompts as READ_IDS has room for, in one pass; then it adds an id
to every growing answer. So the weights are read once for several short prompts, and a long prompt holds up nobody for
longer than that. Growing answers occupy the first slots, and prompts the next ones: the pass over all answers reads one
contiguous part of memory. An answer that ends leaves its slot to the last one.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from arctic_model.inference.cache.prefix_cache import Piece, PrefixCache
from arctic_model.inference.cache.prefix_tree import common_length
from arctic_model.inference.completion import Completion, Request
from arctic_model.inference.language_model import LanguageModel, added_mask, no_mask
from arctic_model.inference.sampling import GenerationError

READ_IDS, READ_IDS_AT_ONCE = 256, 1024
"""Once a pass reads this many ids of prompts, no other prompt joins it. 256 rows take the time of their arithmetic, and
growing answers wait for no more. Where nobody waits, 1,024 are read in less time than four times 256: weights in
bfloat16 are widened once for them."""


@dataclass(eq=False)
class _Running:
    """A request in a slot. `num_read`: ids of its prompt that the slot holds; `num_shared`: those that are read as a
    separate prefix, whole blocks without the last id, which gives the first logits."""

    completion: Completion
    prompt: np.ndarray
    num_shared: int
    num_read: int

    @property
    def length(self) -> int:
        """Ids of prompt and answer that the slot holds at most."""
        return self.num_read + len(self.completion.ids)


class Engine:
    """Answers requests on one model, many at a time.

    The passes over a prompt have shapes that follow from the prompt alone. With `max_batch` = 1 so have those over the
    answer: it is then the same to the bit in any company. In larger batches it is the same except for rounding, which
    may decide between two ids that are equally probable.

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
        self._max_batch = max_batch if model.sees_masks or model.streams else 1
        self._cache = PrefixCache(model, self.capacity, self._max_batch)
        self._waiting: deque[Completion] = deque()
        # By slot. The first answers grow; the prompts of the others are not read yet.
        self._running: list[_Running] = []
        self._num_growing = 0

    @property
    def num_running(self) -> int:
        """Requests that hold a slot."""
        return len(self._running)

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
        """Read one block of a prompt, and add an id to every answer that grows. If the logits of one are not finite, it
        has failed with its `error`, and the others go on.

        Returns:
            Whether there is more to do.
        """
        self._start_waiting()
        if len(self._running) > self._num_growing:
            self._read()
        if self._num_growing:
            self._grow()
        return bool(self._running or self._waiting)

    @torch.inference_mode()
    def run(self, requests: Sequence[Request]) -> list[Completion]:
        """The finished answers to all requests, in order.

        Nobody waits for one of them alone, so all slots are taken before an answer grows: each pass over the answers
        then adds as many ids as it can.

        Raises:
            GenerationError: the first answer's that failed, once all have ended.
        """
        completions = [self.add(request) for request in requests]
        while any(completion.finish is None for completion in completions):
            self._start_waiting(READ_IDS_AT_ONCE)
            while len(self._running) > self._num_growing:
                self._read()
                self._start_waiting(READ_IDS_AT_ONCE)
            if self._num_growing:
                self._grow()
        for completion in completions:
            if completion.error:
                raise completion.error
        return completions

    def _start_waiting(self, read_ids: int = READ_IDS) -> None:
        """Give requests slots, as long as this step's pass has room for more prompts below `read_ids`."""
        room = read_ids - sum(piece.part.num_ids for piece in self._pieces())
        while self._waiting and len(self._running) < self._max_batch and room > 0 and not self._waits_for_beginning():
            self._running.append(self._start(self._waiting.popleft()))
            room -= self._pieces()[-1].part.num_ids

    def _start(self, completion: Completion) -> _Running:
        """Prepare the first free slot, with the part of the prompt's prefix that any slot holds."""
        prompt = np.array(completion.request.prompt, dtype=np.int64)
        num_shared = self._cache.blocks(len(prompt) - 1)
        reused = 0 if completion.request.scores_prompt else num_shared
        completion.num_shared = self._cache.occupy(len(self._running), prompt[:reused])
        return _Running(completion, prompt, num_shared, completion.num_shared)

    def _waits_for_beginning(self) -> bool:
        """Whether a prompt that is not read yet begins as the next request does: then it is read for both."""
        prompt = np.array(self._waiting[0].request.prompt, dtype=np.int64)
        return any(
            self._cache.blocks(min(common_length(prompt, other.prompt), other.num_shared)) > other.num_read
            for other in self._running[self._num_growing :]
        )

    def _pieces(self) -> list[Piece]:
        """The ids of each prompt that this step reads."""
        return [
            self._cache.piece(
                slot, each.prompt, each.num_read, each.num_shared, with_logits=each.completion.request.scores_prompt
            )
            for slot, each in enumerate(self._running[self._num_growing :], self._num_growing)
        ]

    def _read(self) -> None:
        """Read a piece of each prompt; behind its last id comes the first of the answer."""
        pieces = self._pieces()
        for piece, each, logits in zip(
            pieces, self._running[self._num_growing :], self._cache.read(pieces), strict=True
        ):
            each.num_read = piece.part.end
            is_read = each.num_read == len(each.prompt)
            with each.completion.failing():
                if each.completion.request.scores_prompt:
                    each.completion.score_prompt(logits, piece.part.start)
                if is_read:
                    each.completion.extend(logits[-1], self._end_ids)
            if is_read:
                self._exchange(self._slot(each), self._num_growing)
                self._num_growing += 1
        self._remove_finished()

    def _grow(self) -> None:
        """Give the last id of every growing answer to the model, and choose the next."""
        device, growing = self._model.device, [each.completion for each in self._running[: self._num_growing]]
        # The last id is not in the cache yet.
        lengths = [each.length - 1 for each in self._running[: self._num_growing]]
        ids = torch.tensor([[each.ids[-1]] for each in growing], device=device)
        positions = torch.tensor(lengths, device=device)[:, None]
        if self._model.streams:
            mask = no_mask(device, len(growing))
        elif len(lengths) == 1:
            # It sees all of its keys.
            mask = torch.zeros(1, 1, 1, lengths[0] + 1, device=device)
        else:
            mask = added_mask(torch.arange(max(lengths) + 1, device=device) <= positions)[:, None, None]
        order = torch.arange(len(lengths), device=device)
        logits = self._model.logits(ids, positions, mask, order, self._cache.rows(lengths))
        # Copied at once: each choice would wait for a GPU.
        for completion, row in zip(growing, logits.cpu(), strict=True):
            with completion.failing():
                completion.extend(row, self._end_ids)
        self._remove_finished()

    def _remove_finished(self) -> None:
        self._waiting = deque(each for each in self._waiting if each.finish is None)
        for slot in reversed(range(len(self._running))):
            if self._running[slot].completion.finish is not None:
                self._remove(slot)

    def _remove(self, slot: int) -> None:
        """Let the last growing answer take the slot, and the last prompt the slot of that."""
        if slot < self._num_growing:
            self._num_growing -= 1
            self._exchange(slot, self._num_growing)
            slot = self._num_growing
        self._exchange(slot, len(self._running) - 1)
        if self._running.pop().completion.error:
            self._cache.clear(len(self._running))

    def _exchange(self, first: int, second: int) -> None:
        if first != second:
            running = self._running
            self._cache.swap(first, second, max(running[first].length, running[second].length))
            running[first], running[second] = running[second], running[first]

    def _slot(self, running: _Running) -> int:
        return self._running.index(running)
