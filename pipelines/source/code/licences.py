"""The licence of a repository and of its files, as SPDX ids.

A licence's text is known by phrases that it alone has, compared without case, punctuation and line breaks (as the
matching guidelines of the SPDX License List, annex B, allow). Of the GNU licences the text alone grants one version,
so its id ends in `-only`.
"""

import json
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

LICENCE_FILE = re.compile(r"(un)?licen[cs]e|copying|copyright|notice", re.IGNORECASE)
"""Beginning of the name of a file with a licence."""
LICENCE_SUFFIXES = ("", ".txt", ".md", ".rst", ".markdown", ".html")
HEADER_CHARACTERS = 4096
"""Characters at the start of a file that may contain its own identifier."""

_REDISTRIBUTION = "redistribution and use in source and binary forms with or without modification are permitted"
_ENDORSEMENT = "used to endorse or promote products derived from this software"
_ADVERTISING = "all advertising materials mentioning features or use of this software must display"
_MIT_GRANT = "permission is hereby granted free of charge to any person obtaining a copy of this software"
_MIT_NOTICE = "permission notice shall be included in all copies or substantial portions of the software"
_ISC_GRANT = "permission to use copy modify and or distribute this software for any purpose with or without fee"
_ISC_NOTICE = "provided that the above copyright notice and this permission notice appear in all copies"

FINGERPRINTS: Mapping[str, Sequence[str]] = {
    "AGPL-3.0-only": ["gnu affero general public license version 3 19 november 2007"],
    "LGPL-3.0-only": ["gnu lesser general public license version 3 29 june 2007"],
    "LGPL-2.1-only": ["gnu lesser general public license version 2 1 february 1999"],
    "LGPL-2.0-only": ["gnu library general public license version 2 june 1991"],
    "GPL-3.0-only": ["gnu general public license version 3 29 june 2007"],
    "GPL-2.0-only": ["gnu general public license version 2 june 1991"],
    "Apache-2.0": ["apache license version 2 0"],
    "MPL-2.0": ["mozilla public license version 2 0", "covered software"],
    "MPL-1.1": ["mozilla public license version 1 1", "covered code"],
    "EPL-2.0": ["eclipse public license v 2 0", "secondary license"],
    "EPL-1.0": ["eclipse public license v 1 0", "recipient s rights"],
    "EUPL-1.2": ["european union public licence v 1 2"],
    "CDDL-1.0": ["common development and distribution license", "version 1 0"],
    "BSD-4-Clause": [_REDISTRIBUTION, _ADVERTISING],
    "BSD-3-Clause": [_REDISTRIBUTION, _ENDORSEMENT],
    "BSD-2-Clause": [_REDISTRIBUTION, "redistributions in binary form must reproduce the above copyright"],
    "NCSA": [_MIT_GRANT, "neither the names of", _ENDORSEMENT],
    "MIT": [_MIT_GRANT, _MIT_NOTICE],
    "MIT-0": [_MIT_GRANT, "to permit persons to whom the software is furnished to do so the software is provided"],
    "ISC": [_ISC_GRANT, _ISC_NOTICE],
    "0BSD": [_ISC_GRANT, "is hereby granted the software is provided as is"],
    "BSL-1.0": ["boost software license version 1 0"],
    "Zlib": ["must not be misrepresented", "altered source versions must be plainly marked as such"],
    "Unlicense": ["this is free and unencumbered software released into the public domain"],
    "CC0-1.0": ["cc0 1 0 universal"],
    "CC-BY-SA-4.0": ["attribution sharealike 4 0 international"],
    "CC-BY-4.0": ["attribution 4 0 international"],
    "Artistic-2.0": ["the artistic license 2 0"],
    "Python-2.0": ["python software foundation license version 2", "beopen python open source license agreement"],
    "PSF-2.0": ["python software foundation license version 2"],
    "PostgreSQL": ["for any purpose without fee and without a written agreement is hereby granted"],
    "OFL-1.1": ["sil open font license version 1 1"],
    "WTFPL": ["do what the fuck you want to public license"],
    "MS-PL": ["microsoft public license ms pl"],
    "UPL-1.0": ["the universal permissive license upl version 1 0"],
    "BUSL-1.1": ["business source license 1 1"],
    "SSPL-1.0": ["server side public license version 1"],
    "Elastic-2.0": ["elastic license 2 0"],
}
"""Phrases that a licence's text has, all of them, in the form of `_normal`."""
IMPLIED: Mapping[str, Sequence[str]] = {
    "BSD-4-Clause": ["BSD-3-Clause", "BSD-2-Clause"],
    "BSD-3-Clause": ["BSD-2-Clause"],
    "LGPL-3.0-only": ["GPL-3.0-only"],
    "Python-2.0": ["PSF-2.0"],
}
"""Licences whose phrases another's text contains, or whose text another's requires with it."""
_IDENTIFIER = re.compile(r"SPDX-License-Identifier:[ \t]*([\w.+\-() \t]+?)[ \t]*(?:\*/|-->|$)", re.MULTILINE)


def identify(text: str) -> set[str]:
    """SPDX ids of the licences whose texts `text` holds: one or several, none if no text is known."""
    normal = _normal(text)
    return _proper({name for name, phrases in FINGERPRINTS.items() if all(phrase in normal for phrase in phrases)})


def stated_licence(text: str) -> str | None:
    """The expression after `SPDX-License-Identifier:` in a file's header, or None."""
    match = _IDENTIFIER.search(text[:HEADER_CHARACTERS])
    return " ".join(match[1].split()) if match else None


def is_licence_file(name: str) -> bool:
    """Whether a file in a repository's root may hold its licence, by its name."""
    if not LICENCE_FILE.match(name):
        return False
    extension = re.search(r"\.[A-Za-z]\w*$", name)
    suffix = extension[0] if extension else ""
    # Capitals name the licence, as in LICENSE.APACHE and COPYING.LESSER.
    return suffix.lower() in LICENCE_SUFFIXES or suffix.isupper()


def repository_licence(files: Mapping[str, str]) -> str | None:
    """The SPDX expression of a repository from the texts of its root's files by name.

    Licence files go before notices, and both before metadata. Several licences are joined with AND: one who may choose
    among them loses a freedom, and nobody takes one that was not given.
    """
    texts = {name: text for name, text in files.items() if is_licence_file(name)}
    notices = {name for name in texts if name.lower().startswith("notice")}
    for names in (sorted(texts.keys() - notices), sorted(notices)):
        if terms := _joined(set().union(*(identify(texts[name]) for name in names))):
            return terms
    return next((licence for name, read in METADATA.items() if name in files and (licence := read(files[name]))), None)


def _normal(text: str) -> str:
    """Lower case words with one blank between, so that a licence is the same in any layout."""
    return " ".join(re.findall(r"[a-z0-9]+", text.lower()))


def _pyproject(text: str) -> str | None:
    project = _table(_toml(text), "project")
    licence = project.get("license")
    if isinstance(licence, str):
        return licence
    poetry = _table(_table(_toml(text), "tool"), "poetry").get("license")
    return poetry if isinstance(poetry, str) else _joined(identify(str(_table(project, "license").get("text", ""))))


def _package_json(text: str) -> str | None:
    try:
        licence = json.loads(text).get("license")
    except (ValueError, AttributeError):
        return None
    if isinstance(licence, dict):
        licence = licence.get("type")
    return licence if isinstance(licence, str) and licence.upper() not in ("UNLICENSED", "") else None


def _cargo(text: str) -> str | None:
    licence = _table(_toml(text), "package").get("license")
    # Cargo's older form of OR.
    return licence.replace("/", " OR ") if isinstance(licence, str) else None


METADATA: Mapping[str, Callable[[str], str | None]] = {
    "pyproject.toml": _pyproject,
    "package.json": _package_json,
    "Cargo.toml": _cargo,
}
"""Files with licence metadata, in order, for repositories without a known licence text."""


def _toml(text: str) -> Mapping[str, Any]:
    # A repository's broken metadata has no information about its licence; that is no reason to lose the repository.
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return {}


def _table(fields: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = fields.get(name)
    return value if isinstance(value, Mapping) else {}


def _joined(licences: set[str]) -> str | None:
    return " AND ".join(sorted(_proper(licences))) or None


def _proper(licences: set[str]) -> set[str]:
    """`licences` without the licences that another of them implies."""
    return licences - {implied for name in licences for implied in IMPLIED.get(name, ())}
