"""Corpora of files behind addresses."""

from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from pydantic import TypeAdapter

from data_recipes.schema import SourceSection
from pipelines import source


def section(kind: str, *paths: str, **fields: object) -> SourceSection:
    item = {"kind": kind, "paths": list(paths)}
    return TypeAdapter(SourceSection).validate_python({"inputs": [item], "extractor": "all_text", **fields})


@pytest.fixture
def build(attempt: Callable, tmp_path: Path) -> Callable[..., list[dict]]:
    """`build(section)`: the documents of a corpus."""

    def build(selected: SourceSection, name: str = "store") -> list[dict]:
        made = attempt(source.stage("web", selected, source.fingerprint(selected, tmp_path), tmp_path), name)
        paths = sorted(made.artifact.path.rglob("documents/*"))
        return [row for path in paths for row in pq.read_table(path).to_pylist()]

    return build
