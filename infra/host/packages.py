"""Packages that only some stages need: whether this environment has them in the right version, and how to get them."""

from collections.abc import Iterable, Iterator
from importlib import metadata
from importlib.util import find_spec

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from arctic_errors import UserError

PROJECT = "arctic-pretraining"
USER_EXTRAS = ("evaluate", "export", "gguf", "pdf", "serve")
"""Extras that a run can need; the others are for work on the project itself."""

MODULES = {"llama-cpp-python": "llama_cpp"}
"""Distributions whose module has another name."""


class PackageError(UserError):
    """A package that the work needs is missing, broken or of another version: the message names it and the remedy."""


def problems(names: Iterable[str]) -> list[str]:
    """The fault of each of `names`, distributions that an extra of this project requires, in a few words."""
    return [problem for name in names if (problem := _problem(name))]


def remedy(names: Iterable[str]) -> str:
    """How to install `names`: by their extra, or by name if no extra has them."""
    distributions = list(names)
    extras = sorted({extra for extra, requirement in optional() if _same(requirement.name, distributions)})
    brought = [requirement.name for _, requirement in optional()]
    others = [name for name in distributions if not _same(name, brought)]
    targets = [*([f"-e '.[{','.join(extras)}]'"] if extras else []), *others]
    return f"Run: pip install {' '.join(targets)} -c constraints.txt"


def require(names: Iterable[str], user: str) -> None:
    """Raise PackageError if `user`, such as a task, cannot have one of `names`."""
    distributions = list(names)
    if faults := problems(distributions):
        raise PackageError(f"{user} needs {'; '.join(faults)}. {remedy(distributions)}")


def broken(name: str, user: str, error: ImportError) -> PackageError:
    """The error of `user`, whose package `name` is there and cannot be imported."""
    return PackageError(f"{user} needs {name}, which cannot be imported ({error}). {remedy([name])}")


def optional() -> Iterator[tuple[str, Requirement]]:
    """Each requirement of an extra that a run can need, with the extra."""
    for text in metadata.requires(PROJECT) or ():
        requirement = Requirement(text)
        # An extra may include another one.
        if requirement.name == PROJECT:
            continue
        for extra in USER_EXTRAS:
            if requirement.marker and not _applies(requirement, "") and _applies(requirement, extra):
                yield extra, requirement


def _problem(name: str) -> str:
    requirement = next((candidate for _, candidate in optional() if _same(candidate.name, [name])), Requirement(name))
    needed = f"needs {requirement.specifier or 'any'}"
    try:
        version = metadata.version(name)
        is_there = find_spec(MODULES.get(name, name.replace("-", "_"))) is not None
    except (metadata.PackageNotFoundError, ImportError, ValueError):
        return f"{name} missing ({needed})"
    if not is_there:
        return f"{name} missing ({needed})"
    return "" if requirement.specifier.contains(version, prereleases=True) else f"{name} {version} ({needed})"


def _applies(requirement: Requirement, extra: str) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


def _same(name: str, names: Iterable[str]) -> bool:
    return canonicalize_name(name) in map(canonicalize_name, names)
