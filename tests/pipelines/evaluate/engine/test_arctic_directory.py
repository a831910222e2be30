"""An Arctic model of a Hugging Face directory runs as one of ours."""

import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from arctic_model.checkpoint.reading import INDEX
from arctic_model.inference.language_model import LanguageModel, added_mask
from pipelines.evaluate.engine.decoding import TextGenerator
from pipelines.evaluate.engine.execution import Execution
from pipelines.evaluate.engine.requests import Generation
from pipelines.models.loading import load_model
from pipelines.models.source import ModelSource
from tests.kit.optional import needs

pytestmark = needs("transformers")


@torch.inference_mode()
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


def test_stored_weights_take_half_the_memory_and_give_the_same_logits(our_model: ModelSource, tmp_path: Path) -> None:
    """Rows stay in float32: bfloat16 weights are widened as they are read."""
    for file in (*our_model.checkpoint.iterdir(), *our_model.tokenizer_folder.iterdir()):
        if file.suffix == ".safetensors":
            narrow = {name: tensor.bfloat16() for name, tensor in load_file(file).items()}
            save_file(narrow, tmp_path / file.name, metadata={"format": "pt"})
        elif file.name != INDEX and file.is_file():
            shutil.copy(file, tmp_path)
    wide, stored = (ModelSource(tmp_path, dtype=Execution(cpu_dtype=dtype).dtype) for dtype in ("float32", "stored"))
    sizes = [sum(weight.nbytes for weight in each.read_weights().parameters()) for each in (wide, stored)]
    assert sizes[0] == 2 * sizes[1]
    assert wide.digest() != stored.digest()
    models = load_model(wide), load_model(stored)
    ids = models[0].codec.encode("Row 1 of the table", begin=False)
    torch.testing.assert_close(*(logits(model, ids) for model in models), atol=1e-5, rtol=0)
    request = Generation("Row 7:", (), 20)
    assert TextGenerator(models[0]).write([request]) == TextGenerator(models[1]).write([request])
