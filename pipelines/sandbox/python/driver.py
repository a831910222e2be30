"""The trusted half of a program's own process: executes it, calls it, and puts results into words.

This code does not withstand the program, which may rewrite it in memory; the monitor and the caller protect against
that.
"""

import json
import marshal
import random
import sys
from collections.abc import Iterable
from importlib.machinery import SourceFileLoader
from types import CodeType, ModuleType
from typing import Any

from pipelines.sandbox.protocol import receive, send
from pipelines.sandbox.values import PlainError, encode

PROGRAM = "program"
_compiled: dict[str, CodeType] = {}
"""By source text."""


def compile_once(files: Iterable[str]) -> None:
    """Keeps the code of programs that many sessions will execute, for this process and those that it forks."""
    for file in files:
        loader = SourceFileLoader(PROGRAM, file)
        if code := loader.get_code(PROGRAM):
            _compiled[loader.get_data(file).decode()] = code.replace(co_filename=PROGRAM)


def serve(requests: int, replies: int) -> None:
    """Answers requests, {"program"} first and {"entry_point", "arguments"} then, for as long as they come."""
    random.seed(0)
    sys.argv = [PROGRAM]
    module = sys.modules[PROGRAM] = ModuleType(PROGRAM)
    while True:
        reply = _answer(module, marshal.loads(receive(requests)))
        send(replies, json.dumps(reply).encode())


def _answer(module: ModuleType, request: dict[str, Any]) -> dict[str, Any]:
    try:
        if "program" in request:
            source = request["program"]
            exec(_compiled.get(source) or compile(source, PROGRAM, "exec"), module.__dict__)
            return {"value": None}
        result = module.__dict__[request["entry_point"]](*request["arguments"])
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
