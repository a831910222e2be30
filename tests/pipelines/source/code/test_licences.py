"""Licences by their texts, headers and metadata; the texts on this machine are the oracle."""

from importlib.metadata import distributions
from pathlib import Path

import pytest

from pipelines.source.code.licences import identify, is_licence_file, repository_licence, stated_licence

DEBIAN = Path("/usr/share/common-licenses")
DEBIAN_LICENCES = {
    "Apache-2.0": {"Apache-2.0"},
    "BSD": {"BSD-3-Clause"},
    "CC0-1.0": {"CC0-1.0"},
    "GFDL-1.3": set(),
    "GPL-2": {"GPL-2.0-only"},
    "GPL-3": {"GPL-3.0-only"},
    "LGPL-2": {"LGPL-2.0-only"},
    "LGPL-2.1": {"LGPL-2.1-only"},
    "LGPL-3": {"LGPL-3.0-only"},
    "MPL-1.1": {"MPL-1.1"},
    "MPL-2.0": {"MPL-2.0"},
}
MIT = """The MIT License

Copyright (c) 2024 Someone

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction. The above copyright notice and
this permission notice shall be included in all copies or substantial portions of the Software."""
BSD2 = """Redistribution and use in source and binary forms, with or without modification, are permitted provided:
 1. Redistributions of source code must retain the above copyright notice.
 2. Redistributions in binary form must reproduce the above copyright notice."""
BSD3 = f"{BSD2}\n3. Neither the name of X may be used to endorse or promote products derived from this software."
BSD4 = f"{BSD3}\nAll advertising materials mentioning features or use of this software must display this."
ISC_GRANT = "Permission to use, copy, modify, and/or distribute this software for any purpose with or without fee is"
ISC_NOTICE = "provided that the above copyright notice and this permission notice appear in all copies."
ISC = f"{ISC_GRANT} hereby granted, {ISC_NOTICE}"
TEXTS = {
    "MIT": MIT,
    "BSD-2-Clause": BSD2,
    "BSD-3-Clause": BSD3,
    "BSD-4-Clause": BSD4,
    "ISC": ISC,
    "0BSD": f'{ISC_GRANT} hereby granted. THE SOFTWARE IS PROVIDED "AS IS"',
    "Apache-2.0": "Licensed under the Apache License, Version 2.0 (the 'License')",
    "Unlicense": "This is free and unencumbered software released into the public domain.",
    "BSL-1.0": "Boost Software License - Version 1.0 - August 17th, 2003",
    "Zlib": "The origin of this software must not be misrepresented. Altered source versions must be plainly\n"
    "   marked as such.",
    "AGPL-3.0-only": "GNU AFFERO GENERAL PUBLIC LICENSE\n   Version 3, 19 November 2007",
    "EPL-2.0": "Eclipse Public License - v 2.0 ... Secondary License",
}


@pytest.mark.parametrize("name", TEXTS)
def test_a_licence_is_known_by_its_phrases_in_any_layout(name: str) -> None:
    assert identify(TEXTS[name]) == {name}
    assert identify("\n".join(f"# * {line.upper()}" for line in TEXTS[name].splitlines())) == {name}


def test_a_text_that_is_no_licence_has_none() -> None:
    assert identify("All rights reserved. Do not copy.") == set()
    assert identify("") == set()


@pytest.mark.skipif(not DEBIAN.is_dir(), reason=f"the licence texts of Debian are not at {DEBIAN}")
@pytest.mark.parametrize("name", DEBIAN_LICENCES)
def test_the_texts_of_debian_have_their_names(name: str) -> None:
    if not (DEBIAN / name).is_file():
        pytest.skip(f"no {name} on this machine")
    assert identify((DEBIAN / name).read_text(encoding="utf-8", errors="replace")) == DEBIAN_LICENCES[name]


def test_texts_of_installed_distributions_have_the_licence_that_their_metadata_states() -> None:
    judged, same = 0, 0
    for result in distributions():
        stated = result.metadata.get("License-Expression")
        files = [file for file in result.files or () if is_licence_file(Path(str(file)).name)]
        if stated in ("MIT", "BSD-3-Clause", "BSD-2-Clause", "Apache-2.0", "ISC", "MPL-2.0") and len(files) == 1:
            text = Path(str(files[0].locate())).read_text(encoding="utf-8", errors="replace")
            judged += 1
            same += identify(text) == {stated}
    # The rest have the licences of bundled code in the same file.
    assert judged > 10 and same > 0.85 * judged


@pytest.mark.parametrize(
    ("header", "licence"),
    [
        ("// SPDX-License-Identifier: MIT\nint x;", "MIT"),
        ("/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */", "GPL-2.0-only OR BSD-2-Clause"),
        ("<!-- SPDX-License-Identifier: (MIT AND Zlib)-->", "(MIT AND Zlib)"),
        ("int x; // MIT", None),
        ("x = 1\n" * 2000 + "# SPDX-License-Identifier: MIT", None),
    ],
)
def test_a_files_own_identifier(header: str, licence: str | None) -> None:
    assert stated_licence(header) == licence


def test_names_of_licence_files() -> None:
    yes = [
        "LICENSE",
        "LICENCE.md",
        "license.txt",
        "COPYING.LESSER",
        "LICENSE-MIT",
        "LICENSE.APACHE",
        "UNLICENSE",
        "NOTICE",
    ]
    no = ["license.py", "licenses.json", "copying.c", "README.md", "src.LICENSE"]
    assert [name for name in [*yes, *no] if is_licence_file(name)] == yes


def test_texts_go_before_notices_and_both_before_metadata() -> None:
    metadata = {"package.json": '{"license": "ISC"}', "Cargo.toml": '[package]\nlicense = "MIT/Apache-2.0"'}
    notice = {"NOTICE": "Licensed under the Apache License, Version 2.0"}
    assert repository_licence({"LICENSE": MIT, **notice, **metadata}) == "MIT"
    assert repository_licence({**notice, **metadata}) == "Apache-2.0"
    assert repository_licence(metadata) == "ISC"
    assert repository_licence({"Cargo.toml": metadata["Cargo.toml"]}) == "MIT OR Apache-2.0"
    assert repository_licence({"LICENSE": "ask me", "pyproject.toml": '[project]\nlicense = "MIT"'}) == "MIT"
    assert repository_licence({"pyproject.toml": '[tool.poetry]\nlicense = "BSD-3-Clause"'}) == "BSD-3-Clause"
    assert repository_licence({"README.md": MIT}) is None


def test_several_licences_must_all_be_obeyed() -> None:
    assert repository_licence({"LICENSE-MIT": MIT, "LICENSE-BSD": BSD3}) == "BSD-3-Clause AND MIT"
    lesser = "GNU LESSER GENERAL PUBLIC LICENSE Version 3, 29 June 2007"
    general = "GNU GENERAL PUBLIC LICENSE Version 3, 29 June 2007"
    assert repository_licence({"COPYING": general, "COPYING.LESSER": lesser}) == "LGPL-3.0-only"


@pytest.mark.parametrize("text", ["{", "[]", '{"license": 3}', '{"license": "UNLICENSED"}', "[project", ""])
def test_broken_or_silent_metadata_states_no_licence(text: str) -> None:
    assert repository_licence(dict.fromkeys(("package.json", "pyproject.toml", "Cargo.toml"), text)) is None
