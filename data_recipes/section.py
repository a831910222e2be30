"""What every section of a recipe is built on."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from arctic_errors import UserError

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
Text = Annotated[str, Field(min_length=1, pattern=r"^[^\x00]*$")]
"""What is no empty string, and no name of a file that could not be."""
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
LARGEST = 2**63 - 1
"""What a column of whole numbers holds."""
Count = Annotated[int, Field(ge=0, le=LARGEST)]
PositiveInt = Annotated[int, Field(gt=0, le=LARGEST)]
PositiveFloat = Annotated[float, Field(gt=0.0)]
NonNegativeFloat = Annotated[float, Field(ge=0.0)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
"""What every generator of random numbers takes."""


class RecipeError(UserError, ValueError):
    """A recipe is wrong: the message names the file, the field, the value and the mend."""


class Section(BaseModel):
    """Base of every section: frozen, and strict about unknown fields and types."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True, allow_inf_nan=False
    )

    def as_params(self) -> dict[str, Any]:
        """This section as plain data: what a stage puts into its key."""
        return self.model_dump(mode="json")
