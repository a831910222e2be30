"""Run any graph of stages durably on Ray, tracked in MLflow. Knows nothing of language models.

A stage is a function that writes files and returns metrics; its result is committed under a key of its inputs and
parameters, so running again reuses it:

    >>> import tempfile
    >>> from infra import Stage, run
    >>> def count(context, inputs):
    ...     (context.out / "count.txt").write_text("42")
    ...     return {"count": 42.0}
    >>> result = run([Stage("count", work=count)], tempfile.mkdtemp())
    >>> result.ok, result.stages["count"].status, result.metrics["count"]
    (True, 'built', {'count': 42.0})

`run` uses the Ray cluster at `address`, or starts one on this machine while it runs.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from arctic_errors import ArcticError, UserError
    from infra.artifact import Artifact
    from infra.cluster.connection import ClusterError
    from infra.context import StageContext
    from infra.fanout import ShardResult, map_shards
    from infra.inputs import Inputs
    from infra.resources import Resources
    from infra.session import RunResult, StageResult, run
    from infra.stage import Stage
    from infra.store import Store, StoreError

__all__ = [
    "ArcticError",
    "Artifact",
    "ClusterError",
    "Inputs",
    "Resources",
    "RunResult",
    "ShardResult",
    "Stage",
    "StageContext",
    "StageResult",
    "Store",
    "StoreError",
    "UserError",
    "map_shards",
    "run",
]

_MODULES = {
    "ArcticError": "arctic_errors",
    "Artifact": "infra.artifact",
    "ClusterError": "infra.cluster.connection",
    "Inputs": "infra.inputs",
    "Resources": "infra.resources",
    "RunResult": "infra.session",
    "ShardResult": "infra.fanout",
    "Stage": "infra.stage",
    "StageContext": "infra.context",
    "StageResult": "infra.session",
    "Store": "infra.store",
    "StoreError": "infra.store",
    "UserError": "arctic_errors",
    "map_shards": "infra.fanout",
    "run": "infra.session",
}


def __getattr__(name: str) -> Any:
    # Imported on first use, so that `import infra` stays light.
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
