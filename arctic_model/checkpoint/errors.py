"""The error of every module of this package. No torch here."""

from pathlib import Path

from arctic_errors import ArcticError


class CheckpointError(ArcticError, RuntimeError):
    """A checkpoint cannot be used or written: the message names the file and the remedy.

    `damaged` is the file that is not as it was written, if that is the reason.
    """

    def __init__(self, message: str, damaged: Path | None = None) -> None:
        super().__init__(message)
        self.damaged = damaged
