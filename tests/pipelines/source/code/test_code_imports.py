"""Imports of each language, to the files that a reader of the repository would open."""

import pytest

from pipelines.source.code.imports import Index, references, resolve

REPOSITORIES = {
    "Python": {
        "pkg/__init__.py": ("from pkg.core import run\n", {"pkg/core.py"}),
        "pkg/core.py": (
            "from . import util, missing\nfrom .deep.leaf import x as y\n",
            {"pkg/util.py", "pkg/deep/leaf.py", "pkg/__init__.py"},
        ),
        "pkg/util.py": ("import os, pkg.deep.leaf as leaf\n", {"pkg/deep/leaf.py"}),
        "pkg/deep/__init__.py": ("from ..util import a\n", {"pkg/util.py"}),
        "pkg/deep/leaf.py": ("# import pkg.core\nX = 'import pkg.util'\n", set()),
        "tests/test_core.py": (
            "from pkg import (\n    core,  # the thing\n    util,\n)\nimport helper\n",
            {"pkg/core.py", "pkg/util.py", "tests/helper.py"},
        ),
        "tests/helper.py": ("from src_only import z\n", {"src/src_only.py"}),
        "src/src_only.py": ("    import json\n", set()),
    },
    "TypeScript": {
        "src/main.ts": (
            "import { a } from './lib/a';\nimport type {B} from \"../types\";\nexport * from './lib';\n"
            "import './side.js';\n"
            "const c = require('./c'); const d = await import('./d.mjs'); import x from 'react';\n",
            {"src/lib/a.ts", "types.d.ts", "src/lib/index.tsx", "src/side.ts", "src/c.js", "src/d.mjs"},
        ),
        "src/lib/a.ts": ("import {\n  z,\n  y\n} from '.'\n", {"src/lib/index.tsx"}),
        "src/lib/index.tsx": ("", set()),
        "types.d.ts": ("", set()),
        "src/side.ts": ("// see './c'\n", set()),
        "src/c.js": ("", set()),
        "src/d.mjs": ("import '../../outside'\n", set()),
    },
    "Go": {
        "main.go": (
            'package main\n\nimport (\n\t"fmt"\n\ta "example.com/m/a"\n\t_ "example.com/m/b/c"\n)\n',
            {"a/one.go", "a/two.go", "b/c/c.go"},
        ),
        "a/one.go": ('package a\nimport "example.com/m/b/c"\n', {"b/c/c.go"}),
        "a/two.go": ('package a\nimport x "example.com/other/y"\n', set()),
        "a/one_test.go": ("package a\n", set()),
        "b/c/c.go": ("package c\n", set()),
    },
    "Java": {
        "src/main/java/org/x/App.java": (
            "package org.x;\nimport java.util.List;\nimport org.x.io.Reader;\n"
            "import static org.x.io.Reader.open;\nimport org.x.Outer.Inner;\n",
            {"src/main/java/org/x/io/Reader.java", "lib/Outer.java"},
        ),
        "src/main/java/org/x/io/Reader.java": ("package org.x.io;\n", set()),
        "lib/Outer.java": ("package org.x;\nimport org.x.io.*;\n", {"src/main/java/org/x/io/Reader.java"}),
    },
    "C++": {
        "src/a.cc": ('#include "a.h"\n#  include <lib/b.hpp>\n#include <vector>\n', {"src/a.h", "include/lib/b.hpp"}),
        "src/a.h": ('#include "../common.h"\n', {"common.h"}),
        "include/lib/b.hpp": ('#include "lib/c.hpp"\n', {"include/lib/c.hpp"}),
        "include/lib/c.hpp": ("", set()),
        "common.h": ("", set()),
    },
    "Rust": {
        "src/lib.rs": ("pub mod net;\nmod util;\nmod inline { }\n", {"src/net/mod.rs", "src/util.rs"}),
        "src/net/mod.rs": ("mod tcp;\nuse crate::util::Helper;\n", {"src/net/tcp.rs", "src/util.rs"}),
        "src/net/tcp.rs": ("use super::super::util;\nuse crate::Thing;\nuse std::io;\n", {"src/util.rs"}),
        "src/util.rs": ("mod deep;\n", {"src/util/deep.rs"}),
        "src/util/deep.rs": ("", set()),
    },
    "Ruby": {
        "lib/a.rb": ("require 'json'\nrequire_relative 'a/b'\n", {"lib/a/b.rb"}),
        "lib/a/b.rb": ('require_relative("../c.rb")\n', {"lib/c.rb"}),
        "lib/c.rb": ("", set()),
    },
}


@pytest.mark.parametrize("language", REPOSITORIES)
def test_imports_mean_files_of_the_repository(language: str) -> None:
    files = REPOSITORIES[language]
    index = Index()
    index.add_go_module("go.mod", "module example.com/m\n\ngo 1.22\n")
    for path, (text, _) in files.items():
        index.add(path, language, text)
    for path, (text, expected) in files.items():
        assert resolve(path, language, references(language, text), index) == expected, path


@pytest.mark.parametrize("language", REPOSITORIES)
@pytest.mark.parametrize(
    "word", ["import ", "import (\n", "from a import (\n", "import\n", "export a\n", "crate::", "mod "]
)
def test_hostile_text_is_read_in_one_pass(language: str, word: str) -> None:
    text = word * (100_000 // len(word))
    assert all(len(reference) < 100_000 for reference in references(language, text))


def test_the_module_with_the_longest_name_is_meant() -> None:
    index = Index()
    index.add_go_module("go.mod", "module example.com/m\n")
    index.add_go_module("tools/go.mod", "module example.com/m/tools\n")
    for path in ("tools/gen/gen.go", "x/x.go"):
        index.add(path, "Go", "package p\n")
    result = references("Go", 'import (\n"example.com/m/tools/gen"\n"example.com/m/x"\n)\n')
    assert resolve("main.go", "Go", result, index) == {"tools/gen/gen.go", "x/x.go"}


def test_a_file_does_not_import_itself_and_other_languages_import_nothing() -> None:
    index = Index()
    index.add("a.py", "Python", "import a")
    assert resolve("a.py", "Python", references("Python", "import a"), index) == set()
    assert references("COBOL", "import a") == []
    assert resolve("a.cob", "COBOL", [("a",)], index) == set()
