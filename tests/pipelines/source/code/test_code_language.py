"""Languages by name, first line, modeline and content."""

import pytest

from pipelines.source.code.language import AMBIGUOUS, FILE_NAMES, INTERPRETERS, LANGUAGES, detect, may_be_code

CONTENTS = [
    ("a.py", "x = 1", "Python"),
    ("src/A.HPP", "int f();", "C++"),
    ("lib/x.unknown", "x = 1", None),
    ("data.json", "{}", None),
    ("Dockerfile", "FROM scratch", "Dockerfile"),
    ("sub/CMakeLists.txt", "project(x)", "CMake"),
    ("run", "#!/usr/bin/env python3\nprint(1)", "Python"),
    ("run", "#!/usr/bin/env -S node --flag\n", "JavaScript"),
    ("run", "#!/bin/bash -e\n", "Shell"),
    ("run", "nothing tells", None),
    ("tool.py", "#!/bin/sh\nexec python3 tool.py", "Shell"),
    ("header.inc", "// -*- mode: C++; tab-width: 4 -*-\n", "C++"),
    ("header.inc", "/* -*- C -*- */\n", "C"),
    ("config", "x\n" * 30 + "# vim: set ts=4 ft=ruby :\n", "Ruby"),
    ("a.h", "#include <stdio.h>\nint f(void);\n", "C"),
    ("a.h", "#pragma once\nnamespace a {\nint f();\n}\n", "C++"),
    ("a.h", "#include <vector>\nvoid f();\n", "C++"),
    ("a.h", "class Base;\n", "C++"),
    ("a.h", "// a class of its own\nstruct base { int public_id; };\n", "C"),
    ("a.h", "#import <Foundation/Foundation.h>\n@interface A : NSObject\n@end\n", "Objective-C"),
    ("a.m", "@implementation A\n@end\n", "Objective-C"),
    ("a.m", "function y = f(x)\n  y = x;\nend\n", "MATLAB"),
    ("a.m", "(* a package *)\nf[x_] := x^2\n", "Wolfram Language"),
    ("a.pl", "use strict;\nmy $x = 1;\n", "Perl"),
    ("a.pl", "parent(a, b).\nold(X) :- parent(X, _).\n", "Prolog"),
    ("a.pro", "QT += core\nSOURCES = main.cpp\n", "QMake"),
    ("a.sql", "SELECT a FROM t;\n", "SQL"),
    ("a.sql", "CREATE FUNCTION f() RETURNS int AS $$ BEGIN END $$ LANGUAGE plpgsql;\n", "PLpgSQL"),
    ("a.sql", "CREATE TABLE [dbo].[t] (a int)\nGO\n", "TSQL"),
    ("a.sql", "CREATE TABLE t (a VARCHAR2(10));\n/\n", "PLSQL"),
    ("a.ts", "export const x: number = 1\n", "TypeScript"),
    ("de.ts", '<?xml version="1.0"?>\n<!DOCTYPE TS>\n<TS version="2.1"/>\n', None),
    ("a.v", "module top(input a);\nassign b = a;\nendmodule\n", "Verilog"),
    ("a.v", "Theorem t : True.\nProof. exact I. Qed.\n", "Rocq"),
    ("a.cls", "\\NeedsTeXFormat{LaTeX2e}\n\\ProvidesClass{a}\n", "TeX"),
    ("A.cls", "public with sharing class A {\n}\n", "Apex"),
    ("a.fs", "module A\nlet x = 1\n", "F#"),
    ("a.fs", "#version 330\nvoid main() {}\n", "GLSL"),
    ("a.inc", "<?php echo 1;", "PHP"),
]


@pytest.mark.parametrize(("path", "text", "language"), CONTENTS)
def test_language_of_a_file(path: str, text: str, language: str | None) -> None:
    assert detect(path, text) == language


def test_a_name_that_allows_no_language_is_known_without_its_content() -> None:
    for path, text, language in CONTENTS:
        assert may_be_code(path) or detect(path, text) is None or language is None
    assert may_be_code("bin/run") and may_be_code("a.M") and not may_be_code("photo.png")


def test_the_table_is_large_and_no_extension_has_two_languages() -> None:
    extensions = [extension for words in LANGUAGES.values() for extension in words.split()]
    assert len(LANGUAGES) >= 40
    assert len(set(extensions)) == len(extensions) and AMBIGUOUS.keys().isdisjoint(extensions)
    assert all(extension.startswith(".") and extension == extension.lower() for extension in extensions)
    assert LANGUAGES.keys() >= FILE_NAMES.keys() | INTERPRETERS.keys()
