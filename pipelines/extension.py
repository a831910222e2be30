"""Classes of your own, named in a recipe as "package.module:Class".

    [[filter.rules]]
    kind = "own_rules:EnoughLinks"      # class EnoughLinks of own_rules.py, in the recipe's folder
    min_links = 3                       # a field of the class, which is a data_recipes.Section

The module is looked for in the environment, in the recipe's folder, and in the folder in which the command runs. The
digest of its code (of its whole package, or of the file alone if it is in no package) belongs to a stage's key, so a
changed class builds its stage again.
"""

import importlib
import inspect
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from pydantic import BaseModel, ValidationError

from arctic_errors import UserError
from data_recipes import RecipeError
from data_recipes.explain import explain
from data_recipes.section import ExtensionSection, Section
from infra.host.provenance import code_digest
from infra.stage import canonical_json


class ExtensionError(UserError, ValueError):
    """A class of the user's cannot be used: the message names it and the remedy."""


class ExtensionFieldError(ExtensionError):
    """Fields of a class of the user's are wrong: a line for each, which starts with the field."""


@dataclass(frozen=True)
class Extension:
    """A class that a recipe names, as it travels to workers. `fields`: plain data; `folders`: folders to search for its
    module; `code`: digest of the code that the run was planned with."""

    reference: str
    fields: Mapping[str, Any]
    folders: tuple[str, ...]
    code: str

    @classmethod
    def find(cls, reference: str, fields: Mapping[str, Any], protocol: type, folder: Path) -> "Extension":
        """The class that a recipe in `folder` names, with the digest of its code now. Raises ExtensionError."""
        folders = search_folders(folder)
        module = load_class(reference, protocol, folders).__module__
        return cls(reference, fields, folders, code_digest(module))

    def make(self) -> Any:
        """An instance of the class. Raises ExtensionError, also if its code changed since the plan."""
        made = load_class(self.reference, object, self.folders)
        if code_digest(made.__module__) != self.code:
            raise ExtensionError(f"{self.reference}: its code changed since the run was planned. Start the run again.")
        return with_fields(made, self.fields)

    def fingerprint(self) -> dict[str, Any]:
        """Plain data that determines the behaviour of the class: its name, its code and its fields."""
        return {"kind": self.reference, "code": self.code, "fields": self.make().identity()}


def find_all(sections: Sequence[ExtensionSection], protocol: type, folder: Path, field: str) -> list[Extension]:
    """The classes that the list `field` of a recipe in `folder` names, their fields checked.

    Raises RecipeError with the field, such as `filter.rules.2.min_links = 'x': ...`.
    """
    extensions = []
    for number, section in enumerate(sections, start=1):
        with recipe_errors(f"{field}.{number}"):
            extensions.append(Extension.find(section.kind, section.fields, protocol, folder))
            extensions[-1].make()
    return extensions


def restore(
    sections: Sequence[ExtensionSection], fingerprints: Sequence[Mapping[str, Any]], folder: Path
) -> list[Extension]:
    """The classes that `sections` of a recipe in `folder` name, as they were when their `fingerprints` were taken."""
    return [
        Extension(section.kind, section.fields, search_folders(folder), fingerprint["code"])
        for section, fingerprint in zip(sections, fingerprints, strict=True)
    ]


@contextmanager
def recipe_errors(place: str) -> Iterator[None]:
    """Raise RecipeError in place of an ExtensionError about the class that a recipe names at `place`."""
    try:
        yield
    except ExtensionFieldError as error:
        raise RecipeError("\n".join(f"{place}.{line}" for line in str(error).splitlines())) from None
    except ExtensionError as error:
        raise RecipeError(f"{place}.kind = {error}") from error


def search_folders(folder: Path) -> tuple[str, ...]:
    """Folders to search for the modules of a recipe in `folder`: itself, and the folder in which the command runs."""
    return tuple(dict.fromkeys(str(path.absolute()) for path in (folder, Path())))


@dataclass(frozen=True)
class Shipped:
    """An object of a class from the module of `extension`, on its way to a worker, which imports that module first."""

    extension: Extension
    value: Any

    def open(self) -> Any:
        """The object. Raises ExtensionError if the code changed since the plan."""
        self.extension.make()
        return self.value

    def __reduce__(self) -> tuple[Any, ...]:
        # Arguments are unpickled in order: the folders are on the path when the object's module is imported.
        return _unship, (_SearchPath(self.extension.folders), self.extension, self.value)


@dataclass(frozen=True)
class _SearchPath:
    folders: tuple[str, ...]

    def __reduce__(self) -> tuple[Any, ...]:
        return _search, (self.folders,)


def _search(folders: Sequence[str]) -> _SearchPath:
    sys.path += [folder for folder in folders if folder not in sys.path]
    return _SearchPath(tuple(folders))


def _unship(_: _SearchPath, extension: Extension, value: Any) -> Shipped:
    return Shipped(extension, value)


def load_class(reference: str, protocol: type, folders: Sequence[str] = ()) -> type[Any]:
    """The class "package.module:Class" with the members of `protocol`, such as a method `filter(self, scores)`.

    `folders` are searched after the environment. Raises ExtensionError if there is no such module or class, if the
    module cannot be imported, or if the class lacks a member.
    """
    module_name, separator, class_name = reference.partition(":")
    if not (separator and class_name.isidentifier() and all(part.isidentifier() for part in module_name.split("."))):
        raise ExtensionError(f"{reference}: not a class. Write it as package.module:Class.")
    module = _import(reference, module_name, folders)
    named = getattr(module, class_name, None)
    if not isinstance(named, type):
        classes = [name for name, value in vars(module).items() if isinstance(value, type)]
        near = get_close_matches(class_name, classes, n=1)
        hint = f"Did you mean {near[0]}?" if near else f"Choose one of {', '.join(classes) or 'another module'}."
        raise ExtensionError(f"{reference}: {_file(module)} has no class {class_name}. {hint}")
    for problem in _lacking(named, protocol):
        raise ExtensionError(f"{reference}: {problem}, which {protocol.__name__} asks for. Add it to the class.")
    return named


def with_fields(named: type[Any], fields: Mapping[str, Any]) -> Any:
    """An instance of `named`, its `fields` checked as those of every section are. Raises ExtensionError,
    ExtensionFieldError with a line for each field that is wrong."""
    name = f"{named.__module__}:{named.__name__}"
    if not issubclass(named, Section):
        raise ExtensionError(f"{name}: its fields cannot be checked. Derive the class from data_recipes.Section.")
    try:
        return named.model_validate_json(canonical_json(dict(fields)))
    except ValidationError as error:
        raise ExtensionFieldError("\n".join(explain(error, named))) from None


def _import(reference: str, module_name: str, folders: Sequence[str]) -> ModuleType:
    _search(folders)
    importlib.invalidate_caches()
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and f"{module_name}.".startswith(f"{error.name}."):
            searched = " or ".join(folders)
            raise ExtensionError(
                f"{reference}: no module {error.name!r} in this environment or in {searched}. Correct the name, or put "
                "the module beside the recipe."
            ) from None
        raise _import_error(reference, error) from error
    # The user's module may raise anything while it is imported.
    except Exception as error:
        raise _import_error(reference, error) from error
    _require_own(reference, module, folders)
    return module


def _import_error(reference: str, error: Exception) -> ExtensionError:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "importlib" not in frame.filename]
    is_syntax = isinstance(error, SyntaxError)
    line = (error.filename, error.lineno) if is_syntax else (frames[-1].filename, frames[-1].lineno)  # type: ignore[attr-defined]
    return ExtensionError(
        f"{reference}: its module cannot be imported: {type(error).__name__}: {error} ({line[0]}, line {line[1]}). "
        "Correct that line."
    )


def _require_own(reference: str, module: ModuleType, folders: Sequence[str]) -> None:
    """Raise ExtensionError if the first of `folders` that has such a module has another: a process holds one of a
    name."""
    path = Path(*module.__name__.split("."))
    for folder in folders:
        for file in (Path(folder, path).with_suffix(".py"), Path(folder, path, "__init__.py")):
            if file.is_file():
                if not (module.__file__ and file.samefile(module.__file__)):
                    raise ExtensionError(
                        f"{reference}: two modules are called {module.__name__}: {_file(module)}, which is in use, and "
                        f"{file}. Rename one."
                    )
                return


def _lacking(named: type, protocol: type) -> Iterator[str]:
    """Public members of `protocol` that `named` lacks."""
    fields = set(named.model_fields) if issubclass(named, BaseModel) else set()
    for name in dict.fromkeys([*inspect.get_annotations(protocol), *vars(protocol)]):
        if name.startswith("_"):
            continue
        required, member = vars(protocol).get(name), getattr(named, name, None)
        if not isinstance(required, FunctionType):
            if name not in fields and not hasattr(named, name):
                yield f"it has no {name!r}"
        elif not callable(member):
            yield f"it has no method {name}{_parameters(required)}"
        elif not _takes(member, required):
            yield f"its {name}{_parameters(member)} is not {name}{_parameters(required)}"


def _takes(member: Any, required: FunctionType) -> bool:
    try:
        inspect.signature(member).bind(*inspect.signature(required).parameters)
    except TypeError:
        return False
    return True


def _parameters(function: Any) -> str:
    return f"({', '.join(inspect.signature(function).parameters)})"


def _file(module: ModuleType) -> str:
    return str(module.__file__)
