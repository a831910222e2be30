"""Base classes and types of every section of a recipe."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from arctic_errors import UserError


def _from_home(text: str) -> str:
    """A path with `~` for a home folder expanded; that of a user whom nobody knows stays, and is not found."""
    with suppress(RuntimeError):
        return str(Path(text).expanduser()) if text.startswith("~") else text
    return text


Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
Text = Annotated[str, Field(min_length=1, pattern=r"^[^\x00]*$")]
"""A string that is neither empty nor an impossible file name."""
FromHome = AfterValidator(_from_home)
"""Marks a field that names a path, which may start with `~`."""
PathText = Annotated[Text, FromHome]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
LARGEST = 2**63 - 1
"""The largest number that a column of whole numbers can hold."""
Count = Annotated[int, Field(ge=0, le=LARGEST)]
PositiveInt = Annotated[int, Field(gt=0, le=LARGEST)]
PositiveFloat = Annotated[float, Field(gt=0.0)]
NonNegativeFloat = Annotated[float, Field(ge=0.0)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
"""The range of seeds that every random number generator accepts."""


def require_whole_gpus(field: str, gpus: float, group_field: str, group_size: object) -> None:
    """Raise ValueError if processes of a group, which `group_field` sizes, share a GPU."""
    if 0 < gpus < 1:
        raise ValueError(
            f"{field} = {gpus:g} with {group_field} = {group_size}: NCCL refuses two processes of a group on one GPU. "
            f"Use 1, 0 for CPUs, or {group_field} = 1."
        )


class RecipeError(UserError, ValueError):
    """A recipe is wrong: the message names the file, the field, the value and the remedy."""


@dataclass(frozen=True)
class Location:
    """Marks a field that names a location, so that no key depends on it.

    >>> from typing import Annotated
    >>> from data_recipes import Location, Section
    >>> class Notes(Section):
    ...     path: Annotated[str, Location()]
    ...     title: bool = False
    >>> Notes(path="notes").identity()
    {'title': False}
    """


class Section(BaseModel):
    """Base of every section: frozen, and strict about unknown fields and types."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True, allow_inf_nan=False
    )

    def as_params(self) -> dict[str, Any]:
        """This section as plain data: the part of a stage's key."""
        return self.model_dump(mode="json")

    def identity(self) -> dict[str, Any]:
        """`as_params` without the fields marked as Location, whose content is fingerprinted instead."""
        fields = type(self).model_fields
        located = {name for name, field in fields.items() if any(isinstance(each, Location) for each in field.metadata)}
        params = {name: value for name, value in self.as_params().items() if name not in located}
        for name in params.keys() & fields.keys():
            value = getattr(self, name)
            if isinstance(value, Section):
                params[name] = value.identity()
            elif isinstance(value, list) and value and all(isinstance(item, Section) for item in value):
                params[name] = [item.identity() for item in value]
        return params


CLASS_NAME = r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$"
"""A class of the user's own, as "package.module:Class"."""
NUMBER, RANGE = "number", "range"
"""Members of a union of a number and a range [fewest, most]."""
OWN_CLASS, BY_NAME = "class", "by name"
"""Tags of a field that takes built-in kinds or names too: a class of the user's own, and a plain name."""


class ExtensionSection(Section):
    """A class of your own. The class defines and validates all fields but `kind`."""

    model_config = ConfigDict(extra="allow")

    kind: Annotated[str, Field(pattern=CLASS_NAME)]
    """Name of the class, such as "my_package.rules:EnoughLinks". Its module is installed, or lies in the folder of the
    recipe or in the folder where you run the command."""

    @property
    def fields(self) -> dict[str, Any]:
        """The fields of the class, as plain data."""
        declared = type(self).model_fields
        return {name: value for name, value in self.as_params().items() if name not in declared}
