"""Labels and texts that a model behind a server makes of documents, and limits on the labels."""

import re
from collections.abc import Sequence
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from data_recipes.section import (
    Fraction,
    Location,
    Name,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    Section,
    Seed,
    Text,
)

FieldName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
PLACEHOLDERS = ("text", "url")
"""Fields of a document that a prompt may show."""
_PLACEHOLDER = re.compile(r"\{(\w+)\}")
_NUMERIC = ("integer", "number", "boolean")


class AnswerFieldSection(Section):
    """One value of the JSON object that the model answers with."""

    type: Literal["integer", "number", "boolean", "string", "strings"]
    """Type of the value; "strings" is a list of strings."""
    choices: list[Text] = []
    """Strings to choose from. Empty allows every string."""
    minimum: float | None = None
    """Smallest number allowed."""
    maximum: float | None = None
    """Largest number allowed."""
    description: str = ""
    """Meaning of the value, shown to the model in the schema of the answer."""

    @model_validator(mode="after")
    def _bounds_fit_the_type(self) -> Self:
        if self.choices and self.type not in ("string", "strings"):
            raise ValueError(f'choices = {self.choices}: a value of type "{self.type}" has none. Remove them.')
        for name, bound in (("minimum", self.minimum), ("maximum", self.maximum)):
            if bound is not None and self.type not in ("integer", "number"):
                raise ValueError(f'{name} = {bound}: a value of type "{self.type}" has none. Remove it.')
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise ValueError(f"minimum = {self.minimum} is more than maximum = {self.maximum}. Lower it.")
        return self


def _address(server: str) -> str:
    parts = urlsplit(server)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
        raise ValueError("no address of a server. Give http://HOST:PORT/v1, and the token as OPENAI_API_KEY.")
    return server.rstrip("/")


class AnnotateSection(Section):
    """A model behind a server that speaks OpenAI's protocol reads each document and answers by a JSON object: labels
    that `[filter]` can limit, or texts that become documents of another corpus. Answers are saved one by one, so
    nothing is asked, or paid, twice."""

    name: Name
    """Name of the annotation in `filter.labels`, in plans and in the store."""
    server: Annotated[str, AfterValidator(_address), Location()]
    """Address of the server, such as `http://127.0.0.1:8000/v1`. A token is read from `OPENAI_API_KEY`."""
    model: Text
    """Name of the model on the server. Part of the stage's key: another model makes other labels."""
    prompt: Text
    """Message to the model, with `{text}` for the document's text and `{url}` for its URL. Write `{{` for a brace."""
    system: str = ""
    """System message before the prompt."""
    answer: Annotated[dict[FieldName, AnswerFieldSection], Field(min_length=1)]
    """Values of the answer by name. All are required; an answer that does not fit is asked for again."""
    documents: str = ""
    """Value of the answer, of type "string" or "strings", whose texts become documents: another corpus reads them as
    input of the kind "annotated"."""
    fraction: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    """Fraction of the documents to ask about, selected by the hash of their id."""
    max_characters: PositiveInt = 12_000
    """Maximum number of characters of the text that the model is shown."""
    max_answer_tokens: PositiveInt = 512
    """Maximum number of tokens of an answer."""
    temperature: NonNegativeFloat = 0.0
    """Sampling temperature."""
    seed: Seed = 0
    """Random seed of the sampling; each further attempt adds 1."""
    response_format: Literal["json_schema", "none"] = "json_schema"
    """Whether to send the schema of the answer ("json_schema"), for servers that decode by it, or to rely on the prompt
    alone ("none"). Answers are checked either way."""
    attempts: Annotated[int, Field(gt=0, le=10)] = 2
    """Number of times to ask about a document until the answer fits."""
    max_unusable_fraction: Annotated[Fraction, Location()] = 0.1
    """Fraction of documents without a usable answer above which the stage fails."""
    num_concurrent_requests: Annotated[PositiveInt, Location()] = 8
    """Number of requests that the server handles at a time."""
    timeout_s: Annotated[PositiveFloat, Location()] = 600.0
    """Seconds to wait for one answer."""
    max_requests: Annotated[PositiveInt | None, Location()] = None
    """Maximum number of requests, after which the stage stops. Received answers stay: raise it to continue."""
    max_tokens: Annotated[PositiveInt | None, Location()] = None
    """Maximum number of tokens of prompts and answers. Until the server reports them, a request counts with one for
    each of its bytes and `max_answer_tokens`; the stage stops before one that could exceed the limit."""
    max_cost: Annotated[PositiveFloat | None, Location()] = None
    """Maximum cost in USD, kept as `max_tokens` is. Requires the prices."""
    price_per_million_prompt_tokens: Annotated[NonNegativeFloat, Location()] = 0.0
    """Price of a million tokens of prompts in USD."""
    price_per_million_answer_tokens: Annotated[NonNegativeFloat, Location()] = 0.0
    """Price of a million tokens of answers in USD."""

    @model_validator(mode="after")
    def _prompt_shows_the_text(self) -> Self:
        named = _PLACEHOLDER.findall(self.prompt.replace("{{", "").replace("}}", ""))
        for name in named:
            if name not in PLACEHOLDERS:
                raise ValueError(f"prompt shows {{{name}}}, which documents do not have. Write {{text}} or {{url}}.")
        if "text" not in named:
            raise ValueError("prompt does not show the document. Write {text} for its text.")
        return self

    @model_validator(mode="after")
    def _documents_are_text(self) -> Self:
        if self.documents and getattr(self.answer.get(self.documents), "type", "") not in ("string", "strings"):
            raise ValueError(
                f'documents = {self.documents!r}: no value of the answer of type "string" or "strings". Name one.'
            )
        return self

    @model_validator(mode="after")
    def _cost_has_prices(self) -> Self:
        if self.max_cost and not self.price_per_million_prompt_tokens + self.price_per_million_answer_tokens:
            raise ValueError(
                f"max_cost = {self.max_cost}: no price is set, so it is never reached. Set "
                "price_per_million_prompt_tokens and price_per_million_answer_tokens."
            )
        return self


class LabelLimitSection(Section):
    """A limit on a label of an annotation of this corpus."""

    annotation: Name
    """Name of the annotation."""
    field: FieldName
    """Value of its answer."""
    minimum: float | None = None
    """Minimum number. `true` counts as 1, `false` as 0."""
    maximum: float | None = None
    """Maximum number."""
    allowed: list[Text] = []
    """Strings to keep."""
    keep_unlabelled: bool = True
    """Keep documents that the model was not asked about or gave no usable answer on."""

    @model_validator(mode="after")
    def _limits_something(self) -> Self:
        if self.minimum is None and self.maximum is None and not self.allowed:
            raise ValueError("it limits nothing. Set minimum, maximum or allowed.")
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise ValueError(f"minimum = {self.minimum} is more than maximum = {self.maximum}. Lower it.")
        return self


def label_mistake(limit: LabelLimitSection, annotations: Sequence[AnnotateSection]) -> str:
    """The mistake of a limit that its corpus' annotations cannot meet; empty if it fits."""
    named = {section.name: section for section in annotations}
    if limit.annotation not in named:
        return f"annotation = {limit.annotation!r}: there is none of this name. Add it as [[annotate]], or name one."
    answer = named[limit.annotation].answer.get(limit.field)
    if answer is None:
        return f"field = {limit.field!r}: the answer of {limit.annotation} has no such value. Name one of its values."
    if limit.allowed and answer.type != "string":
        return f'allowed = {limit.allowed}: {limit.field} is of type "{answer.type}". Set minimum or maximum.'
    for name in ("minimum", "maximum"):
        if limit.allowed and getattr(limit, name) is not None:
            return f'{name} = {getattr(limit, name)}: {limit.field} is of type "string". Remove it.'
    if not limit.allowed and answer.type not in _NUMERIC:
        return f'field = {limit.field!r}: it is of type "{answer.type}", no number. Set allowed.'
    unknown = [text for text in limit.allowed if answer.choices and text not in answer.choices]
    return f"allowed = {limit.allowed}: {unknown[0]!r} is none of the choices. Correct it." if unknown else ""
