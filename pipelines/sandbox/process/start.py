"""Starts the zygote: `python -P -s -S start.py CEILING NUMPY PROGRAM...`, standard library only.

CEILING is the JSON of a `Ceiling`, NUMPY the folder with the numpy that programs may import, or empty; each
PROGRAM the file of one of the caller's own, compiled once for all sessions.

The packages above this one import torch and more. Stubs of them let the sandbox's modules be imported here by their
usual names, and nothing else; `arctic_errors` is loaded from its file, because its folder holds all packages.
"""

import gc
import json
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

if __name__ == "__main__":
    gc.disable()  # what is imported stays: see `serve`
    sandbox = Path(__file__).resolve().parents[1]
    for depth, name in enumerate(("pipelines.sandbox", "pipelines")):
        sys.modules[name] = package = ModuleType(name)
        package.__path__ = [str([sandbox, *sandbox.parents][depth])]
    spec = spec_from_file_location("arctic_errors", sandbox.parents[1] / "arctic_errors.py")
    assert spec and spec.loader
    sys.modules["arctic_errors"] = errors = module_from_spec(spec)
    spec.loader.exec_module(errors)

    from pipelines.sandbox.confinement.lockdown import Ceiling
    from pipelines.sandbox.process.zygote import serve

    serve(Ceiling(**json.loads(sys.argv[1])), sys.argv[2], sys.argv[3:])
