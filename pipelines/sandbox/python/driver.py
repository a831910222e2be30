"""The trusted half of a program's own process: executes it, calls it, and puts results into words.

This code does not withstand the program, which may rewrite it in memory; the monitor and the caller protect against
that.
"""

import json
import random
import sys
from types import ModuleType
from typing import Any

from pipelines.sandbox.protocol import receive, send
from pipelines.sandbox.values import PlainError, decode, encode

PROGRAM = "program"


def serve(requests: int, replies: int) -> None:
    """Answers requests, {"program"} first and {"entry_point", "arguments"} then, for as long as they come."""
    random.seed(0)
    sys.argv = [PROGRAM]
    module = sys.modules[PROGRAM] = ModuleType(PROGRAM)
    while True:
        reply = _answer(module, json.loads(receive(requests)))
        send(replies, json.dumps(reply).encode())


def _answer(module: ModuleType, request: dict[str, Any]) -> dict[str, Any]:
    try:
        if "program" in request:
            exec(compile(request["program"], PROGRAM, "exec"), module.__dict__)
            return {"value": None}
        result = module.__dict__[request["entry_point"]](*decode(request["arguments"]))
    except BaseException as error:
        return {"raised": _describe(error)}
    try:
        return {"value": encode(result)}
    except (PlainError, MemoryError) as error:
        return {"unusable": _describe(error)}


def _describe(error: BaseException) -> str:
    try:
        text = str(error)
    except BaseException as another:
        text = f"its text raises {type(another).__name__}"
    return f"{type(error).__name__}: {text}"
