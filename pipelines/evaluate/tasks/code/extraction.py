"""The program in a model's answer, as EvalPlus sanitises it (evalplus/sanitize.py), by `ast` instead of tree-sitter.

Standard library only: the sandbox executes the text of this module, since parsing a model's text can take long or crash
an interpreter.
"""

import ast
import warnings


def extract(texts: list[str], entry_point: str) -> str:
    """The program in the first of `texts` that defines `entry_point`, or else in the first of all.

    It is the longest run of lines that is Python, and of that: imports, and the first definition of each name that
    `entry_point` needs. A function without a body, as in a prompt, does not count. EvalPlus drops any function that
    returns nothing or is decorated, and with them right answers, one canonical solution (Mbpp/630) among them.
    """
    warnings.simplefilter("ignore")
    blocks = []
    for text in texts:
        definitions = _definitions(longest_python(text.replace("\r\n", "\n").replace("\r", "\n")))
        blocks.append(_needed(definitions, entry_point))
        if any(entry_point in names for _, names, _ in definitions):
            return blocks[-1]
    return blocks[0]


def longest_python(text: str) -> str:
    """Of all runs of lines that parse, the first of those with the most lines that are not blank."""
    lines = text.split("\n")
    filled = [0]
    for line in lines:
        filled.append(filled[-1] + bool(line.strip()))
    best = (0, 0)
    for start in range(len(lines)):
        end = len(lines)
        while filled[end] - filled[start] > filled[best[1]] - filled[best[0]]:
            wrong = _first_wrong_line("\n".join(lines[start:end]))
            if wrong is None:
                best = (start, end)
            else:
                # A prefix of lines with a syntax error stays wrong with any continuation, so every shorter run with
                # that line is wrong too.
                end = min(end - 1, start + wrong - 1)
    return "\n".join(lines[best[0] : best[1]])


def _first_wrong_line(source: str) -> int | None:
    """From 1, None if all parses; the last line if the parser gives no number."""
    try:
        ast.parse(source)
    except SyntaxError as error:
        return max(error.lineno or 1, 1) if "f-string" not in str(error.msg) else source.count("\n") + 1
    except (ValueError, MemoryError, RecursionError):
        return source.count("\n") + 1
    return None


def _definitions(source: str) -> list[tuple[str, set[str], set[str]]]:
    """Of each import and definition its text, the names that it binds (none for an import) and those that it uses."""
    definitions = []
    bound: set[str] = set()
    for node in ast.parse(source).body:
        names = _bound_names(node)
        if isinstance(node, ast.Import | ast.ImportFrom) or (names and not names & bound):
            bound |= names
            definitions.append((_text(source, node), names, _used_names(node)))
    return definitions


def _bound_names(node: ast.stmt) -> set[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return set() if all(map(_does_nothing, node.body)) else {node.name}
    if isinstance(node, ast.ClassDef):
        return {node.name}
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return {inner.id for target in targets for inner in ast.walk(target) if isinstance(inner, ast.Name)}


def _does_nothing(statement: ast.stmt) -> bool:
    is_constant = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    return is_constant or isinstance(statement, ast.Pass)


def _used_names(node: ast.stmt) -> set[str]:
    names = {inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)}
    return names | {inner.attr for inner in ast.walk(node) if isinstance(inner, ast.Attribute)}


def _text(source: str, node: ast.stmt) -> str:
    decorators = getattr(node, "decorator_list", [])
    if decorators:
        return "\n".join(source.split("\n")[decorators[0].lineno - 1 : node.end_lineno])
    return ast.get_source_segment(source, node) or ""


def _needed(definitions: list[tuple[str, set[str], set[str]]], entry_point: str) -> str:
    """Imports first, then all definitions that `entry_point` reaches, in order."""
    needed, waiting = {entry_point}, [entry_point]
    while waiting:
        name = waiting.pop()
        for _, names, used in definitions:
            if name in names:
                waiting += used - needed
                needed |= used
    imports = [text for text, names, _ in definitions if not names]
    return "\n".join(imports + [text for text, names, _ in definitions if names & needed]) + "\n"
