"""Long descriptions of the distributions that are installed here."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import Distribution, distribution, distributions
from pathlib import Path
from typing import Any

from data_recipes.inputs import DistributionsInput
from pipelines.artifacts.documents import Document, draw_split
from pipelines.source.python.packages import fields_of, licence, normal_name, package_url, text_digest
from pipelines.source.reading import Reading

THIS_PROJECT = "arctic-pretraining"
"""Left out: a corpus that read this project's own README would change with it."""
DESCRIPTIONS_PER_SHARD = 256


@dataclass(frozen=True)
class Descriptions:
    """Distributions whose long descriptions become documents."""

    names: Sequence[str]

    def read(self, reading: Reading) -> None:
        for name in self.names:
            reading.keep(describe(name, reading.heldout_fraction))


def pin(item: DistributionsInput, folder: Path) -> dict[str, Any]:  # noqa: ARG001 - lies in no folder
    """Version and digest of the description, by distribution."""
    descriptions = {}
    for name in installed_distributions():
        found = distribution(name)
        if text := _description(found):
            descriptions[name] = f"{found.version} {text_digest(text)}"
    return {"descriptions": descriptions}


def parts(item: DistributionsInput, pinned: Mapping[str, Any], folder: Path) -> Iterator[Descriptions]:  # noqa: ARG001
    """Shards of distributions, by name."""
    names = sorted(pinned["descriptions"])
    for start in range(0, len(names), DESCRIPTIONS_PER_SHARD):
        yield Descriptions(names[start : start + DESCRIPTIONS_PER_SHARD])


def installed_distributions() -> list[str]:
    """Names of the distributions, each once, in order."""
    return sorted({normal_name(found.name) for found in distributions()} - {THIS_PROJECT})


def describe(name: str, heldout_fraction: float) -> Document:
    """The long description of an installed distribution."""
    found = distribution(name)
    url = package_url(found)
    return Document(
        text=_description(found),
        url=url,
        origin=f"{name} {found.version}",
        split=draw_split(url, heldout_fraction),
        licence=licence(found),
        extractor="metadata",
    )


def _description(found: Distribution) -> str:
    return "\n".join(fields_of(found, "Description")).strip()
