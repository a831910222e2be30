"""The work of a stage reads its inputs by the fields of their class, not by the names in its key."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
NAMED = "Mapping[str, Artifact]"


def names_read(source: str) -> Iterator[str]:
    """Every name by which a function reads one of its artifacts."""
    for function in ast.walk(ast.parse(source)):
        if isinstance(function, ast.FunctionDef):
            named = {arg.arg for arg in function.args.args if arg.annotation and ast.unparse(arg.annotation) == NAMED}
            for node in ast.walk(function):
                match node:
                    case ast.Subscript(value=ast.Name(id=name), slice=ast.Constant(value=str())) if name in named:
                        yield ast.unparse(node)
                    case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr="get")) if name in named:
                        yield ast.unparse(node)


def test_a_read_by_name_is_seen() -> None:
    source = f"def work(context, inputs: {NAMED}):\n    inputs['tokens:web']\n    inputs.get('previous')\n"
    assert list(names_read(source)) == ["inputs['tokens:web']", "inputs.get('previous')"]
    assert not list(names_read("def of_manifest(inputs: Mapping[str, str]):\n    inputs['source']\n"))


def test_stages_read_typed_inputs() -> None:
    readers = [file for file in (ROOT / "pipelines").rglob("*.py") if NAMED in file.read_text(encoding="utf-8")]
    assert len(readers) > 10
    by_name = {str(file.relative_to(ROOT)): list(names_read(file.read_text(encoding="utf-8"))) for file in readers}
    assert {file: names for file, names in by_name.items() if names} == {}
