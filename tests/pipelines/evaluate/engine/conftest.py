"""The checkpoint of these tests as the engine holds it, and as the model that it is."""

import pytest

from arctic_model.model import ArcticModel
from pipelines.models.loading import load_model
from pipelines.models.source import ModelSource
from pipelines.models.text_model import TextModel


@pytest.fixture(scope="module")
def model(our_model: ModelSource) -> TextModel:
    return load_model(our_model)


@pytest.fixture(scope="module")
def weights(our_model: ModelSource) -> ArcticModel:
    return ArcticModel.from_pretrained(our_model.checkpoint)
