"""A checkpoint of ours that reads packed ids, one thread, the same numbers every time."""

from collections.abc import Sequence

import torch

from arctic_model.training.losses.cross_entropy import token_nll
from infra.groups.group import ALONE, Member
from pipelines.evaluate.data.heldout import ScoredPiece, padded
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

    def __call__(self, pieces: Sequence[ScoredPiece]) -> list[float]:
        """See `nll`."""
        return self.nll(pieces)

    @torch.inference_mode()
    def nll(self, pieces: Sequence[ScoredPiece]) -> list[float]:
        """Nats of all predicted ids of each piece, in one forward pass."""
        ids, positions, segments, targets = (torch.from_numpy(array).to(self._device) for array in padded(pieces))
        return token_nll(self._model(ids, positions, segments), targets).double().sum(dim=1).tolist()
