"""Kept machine code is that of the present sources: what is compiled into it comes from modules of its stamp."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = "arctic_model", "data_recipes", "infra", "pipelines"


def _imported(tree: ast.Module) -> dict[str, str]:
    """The project's module that each name of a module was taken from."""
    return {
        alias.asname or alias.name: node.module
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in PACKAGES
        if node.module != "arctic_model.machine_code"
        for alias in node.names
    }


def _tree(module: str) -> ast.Module:
    return ast.parse((ROOT / (module.replace(".", "/") + ".py")).read_text())


def _included(tree: ast.Module) -> set[str]:
    """Modules that the file names to every `compiler` it calls."""
    imported = _imported(tree)
    calls = [
        {f"{imported[arg.id]}.{arg.id}" for arg in node.args if isinstance(arg, ast.Name)}
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "compiler"
    ]
    assert all(call == calls[0] for call in calls)
    return calls[0]


KERNELS = [
    ".".join(file.relative_to(ROOT).with_suffix("").parts)
    for package in PACKAGES
    for file in sorted((ROOT / package).rglob("*.py"))
    if "import compiler" in file.read_text()
]


def test_there_are_compiled_modules() -> None:
    assert len(KERNELS) >= 10


@pytest.mark.parametrize("module", KERNELS)
def test_names_compiled_in_come_from_the_included_modules(module: str) -> None:
    """A change of any other module could not be seen in the machine code that is kept."""
    tree = _tree(module)
    included = _included(tree)
    taken = {name: origin for name, origin in _imported(tree).items() if f"{origin}.{name}" not in included}
    assert set(taken.values()) <= included
    for origin in included:
        source = _tree(origin)
        foreign, names_taken = set(_imported(source)), {name for name, home in taken.items() if home == origin}
        assert not foreign & names_taken, "defined in the included module, not imported there"
        if origin in KERNELS:
            assert _included(source) <= included
        for node in source.body:
            if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                names = {name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)}
                used = {name.id for name in ast.walk(node.value) if isinstance(name, ast.Name)}
                assert not names & names_taken or not used & foreign
