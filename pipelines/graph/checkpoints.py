"""From the folder that a user names to a checkpoint and its tokenizer."""

from pathlib import Path

from infra.artifact import Artifact, Manifest
from infra.store import MANIFEST, Store
from pipelines.artifacts.checkpoint import CHECKPOINT, checkpoint_folder
from pipelines.errors import OptionError
from pipelines.tokenize import TokenizeInputs
from pipelines.train import TrainInputs


def resolve_checkpoint(folder: Path) -> tuple[Path, Path | None]:
    """The folder of a checkpoint, and that of its tokenizer if a store knows which one it was trained with.

    Args:
        folder: A checkpoint, or the result of a train stage in a store.

    Raises:
        OptionError: If the folder does not exist, or is the result of another stage.
    """
    folder = folder.resolve()
    if not folder.is_dir():
        raise OptionError(f"{folder}: no such folder. Give the folder of a checkpoint.")
    artifact = folder.parent if folder.name == CHECKPOINT else folder
    if not (artifact / MANIFEST).is_file():
        return folder, None
    manifest = Store(artifact.parents[2]).read(artifact).manifest
    if manifest.name != "train":
        raise OptionError(f"{folder}: the result of {manifest.id}, which is no checkpoint. Give one of a train stage.")
    by_key = {each.manifest.key: each for each in Store(artifact.parents[2]).artifacts()}
    return checkpoint_folder(artifact), _tokenizer(manifest, by_key)


def _tokenizer(train: Manifest, by_key: dict[str, Artifact]) -> Path | None:
    """The tokenizer of the tokens that `train` read, if the store still has it."""
    tokens = [by_key[key] for key in TrainInputs.of(train.inputs).tokens.values() if key in by_key]
    tokenizers = (TokenizeInputs.of(each.manifest.inputs).tokenizer for each in tokens)
    return next((by_key[key].path for key in tokenizers if key in by_key), None)
