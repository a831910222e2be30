"""Remove files of a committed result that nothing needs any more, such as the optimizer state of an ended phase.

All other files of the result stay, and a reader of a released file gets the reason.
"""

import json
from collections.abc import Sequence

from infra.artifact import RELEASED, Artifact, released
from infra.store.files import write_durably


def release(artifact: Artifact, paths: Sequence[str], reason: str) -> None:
    """Remove files of a result of this machine's disk. They are written down first: a kill in between leaves files
    that the next call removes, and none that is missing without its reason."""
    reasons = {**released(artifact.folder), **dict.fromkeys(paths, reason)}
    write_durably(artifact.folder / RELEASED, json.dumps(reasons, indent=1))
    for path in paths:
        (artifact.folder / path).unlink(missing_ok=True)
