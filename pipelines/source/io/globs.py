"""Globs of addresses: `**` for any folders, `*`, `?` and `[...]` within one name."""

import glob
import re


def is_named(file: str, path: str) -> bool:
    """Whether a file is `path`, lies below it, or is named by its glob, and is not hidden."""
    if is_hidden(file, path):
        return False
    if not glob.has_magic(path):
        return True
    pieces = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    parts = re.split(r"(\*\*/|\*\*|\*|\?|\[[^]/]*\])", path)
    pattern = "".join(
        part.replace("[!", "[^") if part.startswith("[") else pieces.get(part, re.escape(part)) for part in parts
    )
    return re.fullmatch(pattern, file, re.DOTALL) is not None


def is_hidden(file: str, path: str) -> bool:
    """Whether the name of a file, or of a folder between it and the base of `path`, starts with a dot, as the copies of
    macOS (`._a.jsonl`) and of notebooks do; never if a part of the glob starts with one too."""
    base = base_of(path)
    below, asked = (each.removeprefix(base).split("/") for each in (file, path))
    return any(part.startswith(".") for part in below) and not any(part.startswith(".") for part in asked)


def base_of(path: str) -> str:
    """The folder that a glob begins in; the path itself if it has no magic."""
    parts = path.split("/")
    magic = (number for number, part in enumerate(parts) if glob.has_magic(part))
    return "/".join(parts[: next(magic, None)])


def is_deep(path: str, base: str) -> bool:
    """Whether files below the folders of `base` are asked for too."""
    rest = path.removeprefix(base).lstrip("/")
    return not rest or "/" in rest or "**" in rest
