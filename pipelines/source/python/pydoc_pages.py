"""The standard library's documentation as a small crawl: pydoc's pages in WARC files."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_recipes.sections.inputs import PydocInput
from pipelines.source.document_sink import DocumentSink
from pipelines.source.io.input_folder import InputFolder
from pipelines.source.protocol import InputSplit
from pipelines.source.python.isolated import run_isolated
from pipelines.source.python.standard_library import fingerprint_library, module_names
from pipelines.source.web.extraction.extract import EXTRACTION_VERSION
from pipelines.source.web.warc.responses import write_responses
from pipelines.source.web.warc_files import read_pages

NUM_WARC_FILES = 8
PAGE_DATE = "1970-01-01T00:00:00Z"
"""WARC-Date of rendered pages: their content has no date, and a clock would make every build another one."""
RENDERER = Path(__file__).resolve().with_name("render_pydoc.py")


@dataclass(frozen=True)
class PydocPages:
    """Modules whose pages become one WARC file named `file_name`, which is part of the result."""

    file_name: str
    modules: Sequence[str]

    def read(self, sink: DocumentSink) -> None:
        path = sink.folder / "warc" / self.file_name
        path.parent.mkdir()
        sink.skip("not_importable", write_pages(self.modules, path))
        read_pages(path, sink)


class Pydoc(PydocInput):
    """The pages of the standard library, with the same number of shards on every machine."""

    def identity(self) -> dict[str, Any]:
        return {**super().identity(), "extraction": EXTRACTION_VERSION}

    def fingerprint(self, folder: InputFolder) -> dict[str, Any]:  # noqa: ARG002 - lies in no folder
        """Version and digest of the standard library."""
        return {"library": fingerprint_library()}

    def splits(self, fingerprint: Mapping[str, Any], folder: InputFolder) -> Iterator[InputSplit]:  # noqa: ARG002
        for number, modules in enumerate(module_shards()):
            yield InputSplit(PydocPages(f"pydoc-{number:05d}.warc.gz", modules))


def module_shards() -> list[list[str]]:
    """`module_names` dealt out evenly, one list a WARC file."""
    names = module_names()
    return [names[start::NUM_WARC_FILES] for start in range(NUM_WARC_FILES)]


def write_pages(modules: Sequence[str], path: Path) -> int:
    """Render the pages of `modules` into the WARC file `path`: the same bytes on each run of one Python.

    Returns how many of them cannot be imported here.
    """
    results = run_isolated(RENDERER, modules)
    pages = [(page_url(result["module"]), result["html"].encode()) for result in results if "html" in result]
    write_responses(pages, path, PAGE_DATE)
    return len(results) - len(pages)


def page_url(module: str) -> str:
    """URL that a module's page would have on pydoc's own server."""
    return f"http://pydoc.invalid/{module}.html"
