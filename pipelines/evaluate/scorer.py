"""A checkpoint of ours that reads packed ids, one thread, the same numbers every time: whole pieces, or as a stream."""

from collections.abc import Sequence

import torch
from torch import Tensor

from arctic_model.inference.streaming import BLOCK, Stream, StreamWindow
from arctic_model.training.losses.cross_entropy import token_nll
from infra.groups.group import ALONE, Member
from pipelines.evaluate.data.heldout import ScoredPiece, padded, position_buckets
from pipelines.models.sharing import expert_group
from pipelines.models.source import ModelSource


class Scorer:
    """Negative log-likelihoods of documents as training saw them, documents' borders and all. The processes of a group
    use it in step."""

    def __init__(self, source: ModelSource, member: Member = ALONE) -> None:
        # Sums split over another number of threads would differ in the last digits.
        torch.set_num_threads(1)
        self._model = source.read_weights(expert_group(member, source.device))
        self._device = source.device

    def __call__(self, pieces: Sequence[ScoredPiece]) -> list[list[float]]:
        """See `nll`."""
        return self.nll(pieces)

    @torch.inference_mode()
    def nll(self, pieces: Sequence[ScoredPiece]) -> list[list[float]]:
        """Nats of the predicted ids of each piece by bucket of positions, in one forward pass."""
        ids, positions, segments, targets = (torch.from_numpy(array).to(self._device) for array in padded(pieces))
        nats = token_nll(self._model(ids, positions, segments), targets).double()
        return [_by_bucket(row, len(piece.ids) - 1) for row, piece in zip(nats, pieces, strict=True)]


class StreamScorer:
    """Negative log-likelihoods of documents that are read in constant memory, by sinks and a window."""

    def __init__(self, source: ModelSource, window: StreamWindow, member: Member = ALONE) -> None:
        torch.set_num_threads(1)
        self._model = source.read_weights(expert_group(member, source.device))
        self._window = window

    @torch.inference_mode()
    def __call__(self, pieces: Sequence[ScoredPiece]) -> list[list[float]]:
        """Nats of the predicted ids of each piece by bucket of positions."""
        return [_by_bucket(self._nats(torch.from_numpy(piece.ids)), len(piece.ids) - 1) for piece in pieces]

    def _nats(self, ids: Tensor) -> Tensor:
        """float64 [T]. Logits are dropped block by block, so that memory does not grow with the vocabulary times T."""
        stream = Stream(self._model, self._window)
        blocks = zip(ids[:-1].split(BLOCK), ids[1:].split(BLOCK), strict=True)
        return torch.cat([token_nll(stream.read(block)[None], targets[None])[0] for block, targets in blocks]).double()


def _by_bucket(nats: Tensor, num_predicted: int) -> list[float]:
    return [float(nats[bucket].sum()) for bucket in position_buckets(num_predicted)]
