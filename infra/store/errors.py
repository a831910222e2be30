"""Errors of a store."""

import errno
import shutil
from pathlib import Path

from arctic_errors import UserError


class StoreError(UserError, RuntimeError):
    """The store cannot be used: the message contains the reason and the remedy."""


def disk_full(error: OSError, root: Path, doing: str) -> StoreError | None:
    """The message for a full disk or an exhausted quota; None for any other error."""
    if error.errno not in (errno.ENOSPC, errno.EDQUOT) and "No space left" not in str(error):
        return None
    free = shutil.disk_usage(root).free
    return StoreError(
        f"store {root}: the disk is full ({free:,} bytes free) while {doing}. "
        "Free space or give --store on another disk, then run the same command: finished shards are kept."
    )
