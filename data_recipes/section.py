"""What every section of a recipe is built on."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from arctic_errors import UserError

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
PositiveInt = Annotated[int, Field(gt=0)]
PositiveFloat = Annotated[float, Field(gt=0.0)]


class RecipeError(UserError, ValueError):
    """A recipe is wrong: the message names the file, the field, the value and the mend."""


class Section(BaseModel):
    """Base of every section: frozen, and strict about unknown fields and types."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)

    def as_params(self) -> dict[str, Any]:
        """This section as plain data: what a stage puts into its key."""
        return self.model_dump(mode="json")
