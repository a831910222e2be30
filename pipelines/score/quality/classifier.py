"""The file that a recipe names as its quality classifier: one of the project's own, or one of fastText's."""

from pathlib import Path
from typing import Protocol

from pipelines.score.quality.fasttext_model import MAGIC, FastTextModel
from pipelines.score.quality.linear import QualityModel
from pipelines.score.text.characters import Characters


class Classifier(Protocol):
    """A classifier of good and other texts."""

    def probability(self, characters: Characters) -> float:
        """That a text is of the good kind."""
        ...


def load_classifier(path: Path, label: str) -> Classifier:
    """The classifier in `path`, of whose labels `label` is the good one; the project's own have none, it is "".

    Raises ValueError, naming the file, if it holds neither, or if `label` is not one of its labels.
    """
    with path.open("rb") as file:
        is_fasttext = file.read(len(MAGIC)) == MAGIC
    if is_fasttext:
        return FastTextModel.load(path, label)
    if label:
        raise ValueError(f"{path}: not of fastText, so it has no label {label!r}. Take score.quality_label out.")
    return QualityModel.load(path)
