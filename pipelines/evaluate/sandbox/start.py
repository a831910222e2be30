"""Starts the zygote: `python -P -s -S start.py`, standard library only.

The packages above this one import torch and more. Stand-ins for them let the sandbox's modules be imported here by the
names that they have everywhere, and nothing else.
"""

import sys
from pathlib import Path
from types import ModuleType

if __name__ == "__main__":
    here = Path(__file__).resolve().parent
    for depth, name in enumerate(("pipelines.evaluate.sandbox", "pipelines.evaluate", "pipelines")):
        sys.modules[name] = package = ModuleType(name)
        package.__path__ = [str([here, *here.parents][depth])]

    from pipelines.evaluate.sandbox.zygote import serve

    serve()
