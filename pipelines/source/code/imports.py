"""Which files of a repository a file imports.

Imports are detected by pattern, not by parsing: files of any version, and broken ones, are read alike, and one that a
comment names counts. An import that meets no file of the repository is of a library, and left out.
"""

import posixpath
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

PYTHON_ROOTS = ("", "src", "lib", "python")
"""Folders in which absolute imports are looked for, after the folders above the importing file."""
INCLUDE_FOLDERS = ("", "include", "src", "inc")
"""Folders, in each folder above the including file, in which headers are looked for."""
SCRIPT_SUFFIXES = (".ts", ".tsx", ".d.ts", ".js", ".jsx", ".mjs", ".cjs", ".mts", ".cts", ".vue", ".svelte")
GO_HEAD_CHARACTERS = 2**15
"""The part of a file that holds Go's imports, which precede every other declaration."""

# Every pattern is bounded, so that no text takes time quadratic in its length.
_PYTHON = re.compile(
    r"^[ \t]*(?:from[ \t]+(\.*[\w.]*)[ \t]+import[ \t]+(\([^)]{0,2000}\)|[^\n#;]+)|import[ \t]+([^\n#;]+))",
    re.MULTILINE,
)
_SCRIPT = re.compile(
    r"""\b(?:from|import)\s{0,9}["']([^"'\n]+)["']|\b(?:require|import)\s{0,9}\(\s{0,9}["']([^"'\n]+)["']"""
)
_GO_IMPORTS = re.compile(r"^import\s*(\((?:[^)]*)\)|(?:[\w.]+\s+)?\"[^\"\n]+\")", re.MULTILINE)
_GO_MODULE = re.compile(r"^module\s+\"?([^\s\"]+)", re.MULTILINE)
_QUOTED = re.compile(r"\"([^\"\n]+)\"")
_JAVA_PACKAGE = re.compile(r"^[ \t]*package\s+([\w.]+)", re.MULTILINE)
_JAVA_IMPORT = re.compile(r"^[ \t]*import\s+(?:static\s+)?([\w.]+\*?)", re.MULTILINE)
_INCLUDE = re.compile(r"^[ \t]*#[ \t]*(?:include|import)[ \t]*([<\"])([^>\"\n]+)[>\"]", re.MULTILINE)
_RUST_MOD = re.compile(r"^[ \t]*(?:pub(?:\([^)]*\))?[ \t]+)?mod[ \t]+(\w+)[ \t]*;", re.MULTILINE)
_RUST_USE = re.compile(r"\b((?:crate|self|super)(?:::\w+)+)")
_RUBY = re.compile(r"^[ \t]*require_relative\s*\(?\s*[\"']([^\"'\n]+)[\"']", re.MULTILINE)

Reference = tuple[str, ...]
"""An import as it is written in the file, in the syntax of its language."""


@dataclass
class Index:
    """The targets that a repository's files offer to imports: their `paths`; `packages`: files by the name of their
    Java class, Java package or Go folder; `go_modules`: folder by module path."""

    paths: set[str] = field(default_factory=set)
    packages: dict[str, list[str]] = field(default_factory=dict)
    go_modules: dict[str, str] = field(default_factory=dict)

    def add(self, path: str, language: str, text: str) -> None:
        """Take in a source file."""
        self.paths.add(path)
        stem = posixpath.basename(path).partition(".")[0]
        if language in ("Java", "Kotlin"):
            package = _JAVA_PACKAGE.search(text)
            name = package[1] if package else ""
            for offered in (f"{name}.{stem}" if name else stem, f"{name}.*"):
                self.packages.setdefault(offered, []).append(path)
        if language == "Go" and not stem.endswith("_test"):
            self.packages.setdefault(f"go:{posixpath.dirname(path)}", []).append(path)

    def add_go_module(self, path: str, text: str) -> None:
        """Take in a go.mod file."""
        if module := _GO_MODULE.search(text):
            self.go_modules[module[1]] = posixpath.dirname(path)


def references(language: str, text: str) -> list[Reference]:
    """The imports of a file, in order; none if its language is not among the supported ones."""
    return list(dict.fromkeys(_LANGUAGES[language].find(text))) if language in _LANGUAGES else []


def resolve(path: str, language: str, imports: Iterable[Reference], index: Index) -> set[str]:
    """The files of the repository that the `imports` of the file at `path` mean, without itself."""
    if language not in _LANGUAGES:
        return set()
    to_files = _LANGUAGES[language].resolve
    return {file for reference in imports for file in to_files(reference, path, index)} - {path}


def _python_references(text: str) -> Iterator[Reference]:
    for module, names, modules in _PYTHON.findall(text):
        if module:
            listed = re.sub(r"#[^\n]*", "", names).strip("() \t").split(",")
            yield module, *(name.split()[0] for name in listed if name.split())
        for name in modules.split(","):
            if name.split():
                yield (name.split()[0],)


def _python_files(reference: Reference, path: str, index: Index) -> Iterable[str]:
    """`from a import b` means a/b.py if that is a file, else a.py or a/__init__.py."""
    module, *names = reference
    dots = len(module) - len(module.lstrip("."))
    inner = module.lstrip(".").replace(".", "/")
    above = list(_above(path))
    roots = above[dots - 1 : dots] if dots else [*above, *PYTHON_ROOTS]
    for root in roots:
        base = _join(root, inner)
        inside = [file for name in names if (file := _python_module(_join(base, name), index))]
        own = _python_module(base, index)
        # If all names are modules, the package's __init__ adds nothing.
        modules = inside if names and len(inside) == len(names) else [*inside, *([own] if own else [])]
        if modules:
            return modules
    return []


def _python_module(base: str, index: Index) -> str | None:
    candidates = (f"{base}.py", _join(base, "__init__.py"), f"{base}.pyi", f"{base}.pyx")
    return next((file for file in candidates if file in index.paths), None)


def _script_references(text: str) -> Iterator[Reference]:
    names = (stated or called for stated, called in _SCRIPT.findall(text))
    yield from ((name,) for name in names if name.startswith("."))


def _script_files(reference: Reference, path: str, index: Index) -> Iterable[str]:
    base = _join(posixpath.dirname(path), reference[0])
    # TypeScript names the file that it compiles to.
    stem = re.sub(r"\.[cm]?jsx?$", "", base)
    candidates = [base, *(f"{stem}{suffix}" for suffix in SCRIPT_SUFFIXES)]
    candidates += [f"{base}{suffix}" for suffix in SCRIPT_SUFFIXES]
    candidates += [_join(base, f"index{suffix}") for suffix in SCRIPT_SUFFIXES]
    return _first_of(candidates, index)


def _go_references(text: str) -> Iterator[Reference]:
    for block in _GO_IMPORTS.findall(text[:GO_HEAD_CHARACTERS]):
        yield from ((name,) for name in _QUOTED.findall(block))


def _go_files(reference: Reference, path: str, index: Index) -> Iterable[str]:  # noqa: ARG001 - imports are absolute
    """All files of the imported package, by the longest module path that its name starts with."""
    modules = [name for name in index.go_modules if f"{reference[0]}/".startswith(f"{name}/")]
    if not modules:
        return []
    module = max(modules, key=len)
    return index.packages.get(f"go:{_join(index.go_modules[module], reference[0][len(module) :].strip('/'))}", [])


def _java_references(text: str) -> Iterator[Reference]:
    yield from ((name,) for name in _JAVA_IMPORT.findall(text))


def _java_files(reference: Reference, path: str, index: Index) -> Iterable[str]:  # noqa: ARG001 - imports are absolute
    """A class, or the class around an inner class or a static member, or all of a package."""
    parts = reference[0].split(".")
    for length in range(len(parts), 0, -1):
        if files := index.packages.get(".".join(parts[:length])):
            return files
    return []


def _c_references(text: str) -> Iterator[Reference]:
    yield from _INCLUDE.findall(text)


def _c_files(reference: Reference, path: str, index: Index) -> Iterable[str]:
    """In the including file's folder for quotes, then in the include folders above it, nearest first."""
    quote, name = reference
    beside = [_join(posixpath.dirname(path), name)] if quote == '"' else []
    searched = [_join(folder, inner, name) for folder in _above(path) for inner in INCLUDE_FOLDERS]
    return _first_of([*beside, *searched], index)


def _rust_references(text: str) -> Iterator[Reference]:
    yield from (("mod", name) for name in _RUST_MOD.findall(text))
    yield from (tuple(name.split("::")) for name in _RUST_USE.findall(text))


def _rust_files(reference: Reference, path: str, index: Index) -> Iterable[str]:
    """The module that a path names, as far as it names modules and not items; never the crate's root by its items."""
    start, *names = reference
    folder, name = posixpath.split(path)
    inner = folder if name in ("mod.rs", "lib.rs", "main.rs") else _join(folder, name.removesuffix(".rs"))
    while names[:1] == ["super"]:
        inner, names = posixpath.dirname(inner), names[1:]
    if start == "crate":
        inner = next((above for above in _above(path) if _is_crate(above, index)), folder)
    elif start == "super":
        inner = posixpath.dirname(inner)
    for length in range(len(names), 0, -1):
        base = _join(inner, *names[:length])
        if file := _first_of([f"{base}.rs", f"{base}/mod.rs"], index):
            return file
    return []


def _is_crate(folder: str, index: Index) -> bool:
    return not {_join(folder, "lib.rs"), _join(folder, "main.rs")}.isdisjoint(index.paths)


def _ruby_references(text: str) -> Iterator[Reference]:
    yield from ((name,) for name in _RUBY.findall(text))


def _ruby_files(reference: Reference, path: str, index: Index) -> Iterable[str]:
    base = _join(posixpath.dirname(path), reference[0])
    return _first_of([base, f"{base}.rb"], index)


def _first_of(candidates: Sequence[str], index: Index) -> list[str]:
    return next(([file] for file in candidates if file in index.paths), [])


def _above(path: str) -> Iterator[str]:
    """The folders around a file, the nearest first, the repository's root last."""
    folder = posixpath.dirname(path)
    while folder:
        yield folder
        folder = posixpath.dirname(folder)
    yield ""


def _join(*parts: str) -> str:
    """A path inside the repository; one that leaves it starts with `..` and meets no file."""
    joined = posixpath.normpath(posixpath.join(*parts))
    return "" if joined == "." else joined


@dataclass(frozen=True)
class _Language:
    find: Callable[[str], Iterator[Reference]]
    resolve: Callable[[Reference, str, Index], Iterable[str]]


_SCRIPTS = _Language(_script_references, _script_files)
_C = _Language(_c_references, _c_files)
_JAVA = _Language(_java_references, _java_files)
_PYTHONS = _Language(_python_references, _python_files)
_LANGUAGES: Mapping[str, _Language] = {
    "Python": _PYTHONS,
    "Cython": _PYTHONS,
    "JavaScript": _SCRIPTS,
    "TypeScript": _SCRIPTS,
    "Vue": _SCRIPTS,
    "Svelte": _SCRIPTS,
    "Go": _Language(_go_references, _go_files),
    "Java": _JAVA,
    "Kotlin": _JAVA,
    "C": _C,
    "C++": _C,
    "Objective-C": _C,
    "Objective-C++": _C,
    "Cuda": _C,
    "Rust": _Language(_rust_references, _rust_files),
    "Ruby": _Language(_ruby_references, _ruby_files),
}
