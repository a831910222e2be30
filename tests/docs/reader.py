"""The files of a reader: a checkout with its environment, a folder of notes, and a crawl."""

import random
import shutil
import sys
from pathlib import Path

from tests.kit.web.warc import PACK, http, record

ROOT = Path(__file__).parents[2]
WORDS = "the river and that harbour of a market to be with gardens have boats at night while people come home"
NUM_NOTES, NUM_PAGES = 200, 20


def prepare(folder: Path) -> None:
    """Put recipes, examples, the environment and the reader's own files into an empty folder."""
    for name in ("data_recipes", "examples"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, folder)
    (folder / ".venv").mkdir()
    for name in ("bin", "lib", "pyvenv.cfg"):
        (folder / ".venv" / name).symlink_to(Path(sys.prefix) / name)
    (folder / ".venv/ready").touch()
    notes = folder / "home/notes"
    notes.mkdir(parents=True)
    for number in range(NUM_NOTES):
        (notes / f"{number}.md").write_text(f"# Note {number}\n\n{_sentences(number)}\n")
    (folder / "crawl").mkdir()
    (folder / "crawl/pages.warc.gz").write_bytes(b"".join(map(_page, range(NUM_PAGES))))


def _page(number: int) -> bytes:
    body = f"<html><body><h1>Note {number}</h1><p>{_sentences(number)}</p></body></html>".encode()
    return PACK["gzip"](record(http(body), f"https://notes.example/{number}"))


def _sentences(seed: int) -> str:
    drawn, words = random.Random(seed), WORDS.split()
    return " ".join(f"{' '.join(drawn.choices(words, k=12)).capitalize()}." for _ in range(30))
