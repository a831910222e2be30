"""An export into a folder of the user's choice, which appears whole or not at all."""

import secrets
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from arctic_model.export.errors import ExportError
from arctic_model.export.formats import FORMATS
from infra.host.packages import require
from infra.store import rename_durably

if TYPE_CHECKING:
    from arctic_model.export.validation import Agreement


def export_to_folder(checkpoint: Path, tokenizer: Path, out: Path, to: str, dtype: str | None) -> "Agreement":
    """Export a checkpoint to the folder `out`, as `arctic_model.export.exporting.export` does.

    Args:
        checkpoint: Folder of the checkpoint.
        tokenizer: Folder of its tokenizer.
        out: Must not exist; its parents are created.
        to: Name of the format.
        dtype: Of the weights; None for the format's default.

    Raises:
        ExportError: If `out` exists, there is no such format or dtype, or the format cannot express the model.
        PackageError: If a package is missing that the format needs.
        CheckpointError, ValidationError: As `export`.
    """
    from arctic_model.export.exporting import export

    if to not in FORMATS:
        raise ExportError(f"--to {to}: no such format. There are {', '.join(FORMATS)}.")
    if out.exists():
        raise ExportError(f"--out {out}: exists already. Remove it, or choose another folder.")
    form = FORMATS[to]
    of_weights = form.dtype(dtype)
    require(form.packages, f"--to {to}")
    scratch = out.with_name(f".{out.name}.{secrets.token_hex(4)}")
    scratch.mkdir(parents=True)
    try:
        agreement = export(checkpoint, tokenizer, scratch, form, of_weights)
        rename_durably(scratch, out)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return agreement
