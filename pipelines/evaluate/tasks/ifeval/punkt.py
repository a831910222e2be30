"""NLTK's trained Punkt, by which Google's checkers of IFEval count sentences, if the user has its files.

Nothing is downloaded: the files of `punkt_tab` for English are looked for in the data root, and in NLTK's data folders.
"""

import hashlib
import os
import sys
from collections.abc import Callable, Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

FOLDER = Path("tokenizers/punkt_tab/english")
"""Below a folder of NLTK's data."""
FILES = ("abbrev_types.txt", "collocations.tab", "ortho_context.tab", "sent_starters.txt")


def find_trained(root: Path) -> Path | None:
    """The folder with the trained files, in `nltk_data` of the data root or among NLTK's own; None if they or NLTK are
    missing."""
    if find_spec("nltk") is None:
        return None
    folders = (data / FOLDER for data in _data_folders(root))
    return next((each for each in folders if all((each / name).is_file() for name in FILES)), None)


@cache
def digest_of(folder: Path) -> str:
    """12 hex digits of the content of the trained files."""
    content = hashlib.sha256()
    for name in FILES:
        content.update((folder / name).read_bytes())
    return content.hexdigest()[:12]


@cache
def trained_sentences(folder: Path) -> Callable[[str], list[str]]:
    """The sentences of a text, by the trained files in `folder`."""
    from nltk.tokenize.punkt import PunktParameters, PunktSentenceTokenizer

    # Read here: NLTK opens only files below its own folders.
    abbreviations, collocations, context, starters = (_lines(folder / name) for name in FILES)
    parameters = PunktParameters()
    parameters.abbrev_types, parameters.sent_starters = set(abbreviations), set(starters)
    parameters.collocations = {tuple(line.split("\t")) for line in collocations}
    for word, flags in (line.split("\t") for line in context):
        parameters.ortho_context[word] = int(flags)
    tokenizer = PunktSentenceTokenizer(parameters)

    def sentences(text: str) -> list[str]:
        return list(tokenizer.tokenize(text))

    return sentences


def _lines(file: Path) -> list[str]:
    return file.read_text(encoding="utf-8").splitlines()


def _data_folders(root: Path) -> Iterator[Path]:
    """As NLTK looks for its data, without importing it."""
    yield root / "nltk_data"
    yield from map(Path, filter(None, os.environ.get("NLTK_DATA", "").split(os.pathsep)))
    yield Path.home() / "nltk_data"
    yield from (Path(sys.prefix) / part / "nltk_data" for part in ("", "share", "lib"))
    yield from (Path(base) / "nltk_data" for base in ("/usr/share", "/usr/local/share", "/usr/lib", "/usr/local/lib"))
