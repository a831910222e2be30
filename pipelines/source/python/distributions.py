"""Long descriptions of the distributions that are installed here."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import Distribution, distribution, distributions
from typing import Any

from data_recipes.sections.inputs import DistributionsInput
from pipelines.artifacts.documents import Document, draw_split
from pipelines.source.document_sink import DocumentSink
from pipelines.source.io.input_folder import InputFolder
from pipelines.source.protocol import InputSplit
from pipelines.source.python.packages import fields_of, licence, normal_name, package_url, text_digest

THIS_PROJECT = "arctic-pretraining"
"""Left out: a corpus that read this project's own README would change with it."""
DESCRIPTIONS_PER_SHARD = 256


@dataclass(frozen=True)
class Descriptions:
    """Distributions whose long descriptions become documents."""

    names: Sequence[str]

    def read(self, sink: DocumentSink) -> None:
        for name in self.names:
            sink.write(describe(name, sink.heldout_fraction))


class Distributions(DistributionsInput):
    """All installed distributions, by name."""

    def fingerprint(self, folder: InputFolder) -> dict[str, Any]:  # noqa: ARG002 - lies in no folder
        """Version and digest of the description, by distribution."""
        descriptions = {}
        for name in installed_distributions():
            installed = distribution(name)
            if text := _description(installed):
                descriptions[name] = f"{installed.version} {text_digest(text)}"
        return {"descriptions": descriptions}

    def splits(self, fingerprint: Mapping[str, Any], folder: InputFolder) -> Iterator[InputSplit]:  # noqa: ARG002
        names = sorted(fingerprint["descriptions"])
        for start in range(0, len(names), DESCRIPTIONS_PER_SHARD):
            yield InputSplit(Descriptions(names[start : start + DESCRIPTIONS_PER_SHARD]))


def installed_distributions() -> list[str]:
    """Names of the distributions, each once, in order."""
    return sorted({normal_name(installed.name) for installed in distributions()} - {THIS_PROJECT})


def describe(name: str, heldout_fraction: float) -> Document:
    """The long description of an installed distribution."""
    installed = distribution(name)
    url = package_url(installed)
    return Document(
        text=_description(installed),
        url=url,
        origin=f"{name} {installed.version}",
        split=draw_split(url, heldout_fraction),
        licence=licence(installed),
        extractor="metadata",
    )


def _description(installed: Distribution) -> str:
    return "\n".join(fields_of(installed, "Description")).strip()
