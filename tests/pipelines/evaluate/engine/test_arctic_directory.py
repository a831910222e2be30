"""An Arctic model of a Hugging Face directory runs as one of ours."""

import shutil
from pathlib import Path

import torch
from torch import Tensor

from arctic_model.checkpoint.reading import INDEX
from arctic_model.inference.language_model import LanguageModel, added_mask
from pipelines.models.loading import load_model
from pipelines.models.source import ModelSource
from tests.kit.optional import needs

pytestmark = needs("transformers")


def logits(model: LanguageModel, ids: list[int]) -> Tensor:
    """The logits after each id of a text."""
    positions = torch.arange(len(ids))
    mask = added_mask(torch.ones(len(ids), len(ids), dtype=torch.bool).tril())
    return model.logits(torch.tensor([ids]), positions[None], mask[None, None], positions)


def test_it_scores_as_the_checkpoint_with_its_weights(our_model: ModelSource, tmp_path: Path) -> None:
    for file in (*our_model.checkpoint.iterdir(), *our_model.tokenizer_folder.iterdir()):
        if file.name != INDEX and file.is_file():
            shutil.copy(file, tmp_path)
    source = ModelSource(tmp_path)
    assert not source.is_ours
    ours, theirs = load_model(our_model), load_model(source)
    ids = ours.codec.encode("Row 1 of the table", begin=False)
    assert theirs.codec.encode("Row 1 of the table", begin=False) == ids
    assert torch.equal(logits(ours, ids), logits(theirs, ids))
