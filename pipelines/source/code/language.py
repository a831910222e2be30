"""The programming language of a file: by its name, its first line, its modeline, and its content if names are
ambiguous.

Names and extensions as GitHub Linguist's languages.yml has them. Data formats (JSON, XML, YAML, CSV) are not in the
table: they are no code to learn from, and would outweigh it.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath

LANGUAGES: Mapping[str, str] = {
    "Ada": ".adb .ads .ada",
    "Apex": ".trigger",
    "Assembly": ".asm .s .nasm",
    "Astro": ".astro",
    "Awk": ".awk",
    "Batchfile": ".bat .cmd",
    "C": ".c",
    "C#": ".cs .csx",
    "C++": ".cpp .cc .cxx .c++ .hpp .hh .hxx .h++ .ipp .tpp",
    "CMake": ".cmake",
    "COBOL": ".cob .cbl .cobol .cpy",
    "CSS": ".css",
    "Clojure": ".clj .cljs .cljc",
    "CoffeeScript": ".coffee",
    "Common Lisp": ".lisp .lsp .asd",
    "Crystal": ".cr",
    "Cuda": ".cu .cuh",
    "Cython": ".pyx .pxd .pxi",
    "D": ".d",
    "Dart": ".dart",
    "Dockerfile": ".dockerfile",
    "Elixir": ".ex .exs",
    "Elm": ".elm",
    "Emacs Lisp": ".el",
    "Erlang": ".erl .hrl",
    "F#": ".fsi .fsx",
    "Fortran": ".f .f77 .f90 .f95 .f03 .f08 .for",
    "GLSL": ".glsl .vert .frag .geom",
    "Go": ".go",
    "GraphQL": ".graphql .gql",
    "Groovy": ".groovy .gradle",
    "HCL": ".tf .hcl",
    "HLSL": ".hlsl",
    "HTML": ".html .htm .xhtml",
    "Haskell": ".hs .lhs",
    "IDL": ".dlm",
    "Java": ".java",
    "JavaScript": ".js .mjs .cjs .jsx",
    "Julia": ".jl",
    "Kotlin": ".kt .kts",
    "Less": ".less",
    "Lua": ".lua",
    "MATLAB": ".matlab",
    "Makefile": ".mk .mak .make",
    "Markdown": ".md .markdown .mdx",
    "Nim": ".nim .nims",
    "Nix": ".nix",
    "OCaml": ".ml .mli",
    "Objective-C": ".objc",
    "Objective-C++": ".mm",
    "PHP": ".php .phtml",
    "PLSQL": ".pks .pkb .plsql",
    "PLpgSQL": ".pgsql",
    "Pascal": ".pas .dpr .lpr",
    "Perl": ".pm .plx",
    "PowerShell": ".ps1 .psm1 .psd1",
    "Prolog": ".prolog .yap",
    "Protocol Buffer": ".proto",
    "Python": ".py .pyi .pyw",
    "QMake": ".pri",
    "R": ".r .rmd",
    "Racket": ".rkt",
    "Rocq": ".coq",
    "Ruby": ".rb .rake .gemspec .ru",
    "Rust": ".rs",
    "SCSS": ".scss .sass",
    "SQL": ".ddl .dml",
    "Scala": ".scala .sc",
    "Scheme": ".scm .ss .sld",
    "Shell": ".sh .bash .zsh .ksh .fish",
    "Smalltalk": ".st",
    "Solidity": ".sol",
    "Starlark": ".bzl .star",
    "Svelte": ".svelte",
    "Swift": ".swift",
    "SystemVerilog": ".sv .svh",
    "TSQL": ".tsql",
    "Tcl": ".tcl .tk",
    "TeX": ".tex .sty .ltx",
    "Thrift": ".thrift",
    "TypeScript": ".mts .cts .tsx",
    "V": ".vsh",
    "VHDL": ".vhd .vhdl",
    "Verilog": ".veo",
    "Vim Script": ".vim",
    "Visual Basic": ".vb .vbs .bas .frm",
    "Vue": ".vue",
    "WebAssembly": ".wat .wast",
    "Wolfram Language": ".wl .wls .nb .mathematica",
    "Zig": ".zig",
    "reStructuredText": ".rst",
}
"""Languages with the extensions that are theirs alone; AMBIGUOUS has the extensions that several share."""

FILE_NAMES: Mapping[str, str] = {
    "Dockerfile": "Dockerfile Containerfile",
    "Makefile": "Makefile GNUmakefile makefile",
    "CMake": "CMakeLists.txt",
    "Ruby": "Rakefile Gemfile Vagrantfile Podfile",
    "Starlark": "BUILD BUILD.bazel WORKSPACE",
    "Groovy": "Jenkinsfile",
    "Python": "SConstruct SConscript wscript",
    "Shell": ".bashrc .bash_profile .profile .zshrc",
    "Vim Script": ".vimrc",
    "Emacs Lisp": ".emacs",
}
INTERPRETERS: Mapping[str, str] = {
    "Awk": "awk gawk mawk",
    "JavaScript": "node nodejs deno bun",
    "Julia": "julia",
    "Lua": "lua luajit",
    "PHP": "php",
    "Perl": "perl",
    "Python": "python pypy",
    "R": "Rscript",
    "Ruby": "ruby jruby",
    "Scheme": "guile scheme",
    "Shell": "sh bash dash zsh ksh ash fish",
    "Tcl": "tclsh wish",
}
"""Programs that a `#!` line names, without their version."""
MODES: Mapping[str, str] = {"c++": "C++", "cpp": "C++", "objc": "Objective-C", "sh": "Shell", "js": "JavaScript"}
"""Names that editors use for a language and the table does not."""
MODELINE_LINES = 5
"""First lines, and last ones, that editors search for a modeline."""
HEURISTIC_CHARACTERS = 50_000
"""Of a file with an ambiguous extension that are looked at (Linguist's HEURISTICS_CONSIDER_BYTES)."""

_INTERPRETER = re.compile(r"#!\s*(?:\S*/)?(?:env\s+(?:-\S+\s+)*)?(?:\S*/)?([A-Za-z]+)[\d.]*")
_EMACS_MODE = re.compile(r"-\*-(?:[^\n]*?\bmode:)?[ \t]*([^\s;:]+)[ \t]*(?:;[^\n]*)?-\*-", re.IGNORECASE)
_VIM_MODE = re.compile(r"\b(?:vim?|ex):[^\n]*?\b(?:ft|filetype|syntax)=(\w+)")


def detect(path: str, text: str) -> str | None:
    """The language of the file at `path` with content `text`; None if it is none of the table.

    The first line of a script and a modeline are its author's word and go before extensions.
    """
    declared = _from_interpreter(text) or _from_modeline(text)
    if declared:
        return declared
    pure = PurePosixPath(path)
    if pure.name in _BY_NAME:
        return _BY_NAME[pure.name]
    extension = pure.suffix.lower()
    if extension in AMBIGUOUS:
        return AMBIGUOUS[extension](text[:HEURISTIC_CHARACTERS])
    return _BY_EXTENSION.get(extension)


def may_be_code(path: str) -> bool:
    """Whether the name allows a language: a known name or extension, or none, so that the first line decides."""
    pure = PurePosixPath(path)
    extension = pure.suffix.lower()
    return pure.name in _BY_NAME or extension in _BY_EXTENSION or extension in AMBIGUOUS or not extension


def _from_interpreter(text: str) -> str | None:
    match = _INTERPRETER.match(text)
    return _BY_INTERPRETER.get(match[1]) if match else None


def _from_modeline(text: str) -> str | None:
    lines = text[:4096].splitlines()[:MODELINE_LINES] + text[-4096:].splitlines()[-MODELINE_LINES:]
    for line in lines:
        match = _EMACS_MODE.search(line) or _VIM_MODE.search(line)
        if match:
            mode = match[1].lower()
            return MODES.get(mode) or _BY_LOWER_NAME.get(mode)
    return None


def _by_word(table: Mapping[str, str]) -> dict[str, str]:
    return {word: language for language, words in table.items() for word in words.split()}


Test = Callable[[str], bool]


def _says(pattern: str) -> Test:
    """Whether a text has `pattern` at the start of a line."""
    compiled = re.compile(rf"^[ \t]{{0,99}}(?:{pattern})", re.MULTILINE)
    return lambda text: compiled.search(text) is not None


def _holds(pattern: str) -> Test:
    """Whether a text has `pattern` anywhere, in any case."""
    compiled = re.compile(pattern, re.IGNORECASE | re.MULTILINE)
    return lambda text: compiled.search(text) is not None


def _first(*rules: tuple[str | None, Test], otherwise: str | None) -> Callable[[str], str | None]:
    """The language of the first rule whose test holds."""
    return lambda text: next((language for language, test in rules if test(text)), otherwise)


_OBJECTIVE_C = _says(r"@(interface|implementation|protocol|class|property|end|import)\b|#import\b")
_CPP = _says(
    r"(class|struct)\s+\w+[^;{]{0,200}:\s*(public|private|protected)|class\s+\w+\s*[{;]|template\s*<|namespace\b|using\s+\w+"
    r"|(public|private|protected):|#\s*include\s*<(c?[a-z_]+)>|.*\b(std|boost)::\w+|.*\boperator\s*[=+\-*/<>!(\[]"
)
_PROLOG = _says(r"[a-z]\w*(\([^#\n]*\))?[ \t]*:-|:-\s")

AMBIGUOUS: Mapping[str, Callable[[str], str | None]] = {
    ".h": _first(("Objective-C", _OBJECTIVE_C), ("C++", _CPP), otherwise="C"),
    ".m": _first(
        ("Objective-C", _OBJECTIVE_C),
        ("Wolfram Language", _says(r"\(\*|BeginPackage\[|\w+\[\w*_\]\s*:?=")),
        ("MATLAB", _says(r"function\b|%|end\b|\w+\s*=\s*.*;|clear\b|disp\(")),
        otherwise=None,
    ),
    ".pl": _first(
        ("Perl", _says(r"use\s+(strict|warnings|v?5|\w+::)|(my|our|local)\s+[$@%(]|sub\s+\w+|package\s+\w+")),
        ("Prolog", _PROLOG),
        otherwise="Perl",
    ),
    ".pro": _first(
        ("QMake", _says(r"(QT|TEMPLATE|TARGET|CONFIG|SOURCES|HEADERS)\s*[+-]?=")),
        ("Prolog", _PROLOG),
        ("IDL", _says(r"(pro|function)\s+\w+|end\s*$")),
        otherwise=None,
    ),
    ".sql": _first(
        ("PLpgSQL", _holds(r"\blanguage\s+'?plpgsql|\bas\s+\$\w*\$")),
        ("TSQL", _holds(r"^[ \t]*go[ \t]*$|\bdeclare\s+@|\[dbo\]|@@\w+")),
        ("PLSQL", _holds(r"\bdbms_\w+|\bvarchar2\b|%(row)?type\b|\bpragma\b|^/[ \t]*$")),
        otherwise="SQL",
    ),
    ".ts": _first((None, _holds(r"\A\s*<(\?xml|!DOCTYPE|TS\b)")), otherwise="TypeScript"),
    ".v": _first(
        ("Rocq", _says(r"(Proof|Qed|Theorem|Lemma|Require\s+(Import|Export)|Definition|Fixpoint|Inductive)\b")),
        ("Verilog", _says(r"(endmodule|always\b|assign\s|`\w+|module\s+\w+\s*[#(;])")),
        ("V", _says(r"(pub\s+)?fn\s+\w|module\s+\w+\s*$|import\s+\w+")),
        otherwise=None,
    ),
    ".fs": _first(
        ("GLSL", _says(r"#version|precision\s+\w+p\s|(uniform|varying)\s|void\s+main\s*\(")),
        (None, _says(r": \S+(\s|$)|\\ ")),
        otherwise="F#",
    ),
    ".cls": _first(
        ("TeX", _says(r"\\(NeedsTeXFormat|ProvidesClass|documentclass|LoadClass)")),
        ("Visual Basic", _says(r"VERSION \d|Attribute VB_")),
        ("Apex", _says(r"(@\w+\s+)*(public|private|global)\b.*\b(class|interface|enum)\b")),
        otherwise=None,
    ),
    ".inc": _first(
        ("PHP", _holds(r"<\?(php|=)")),
        ("C++", _CPP),
        ("C", _says(r"#\s*(include|define|ifn?def|if)\b")),
        ("Pascal", _says(r"(procedure|unit|begin)\b")),
        otherwise=None,
    ),
    ".t": _first(
        ("Perl", _says(r"use\s+(strict|warnings|v?5|\w+)|(my|our)\s+[$@%(]|sub\s+\w+")),
        otherwise=None,
    ),
}
"""Extensions that several languages have, each with the tests that distinguish them, strongest evidence first. None:
the file is none of the table's languages, such as a translation in XML named .ts."""

_BY_EXTENSION = _by_word(LANGUAGES)
_BY_NAME = _by_word(FILE_NAMES)
_BY_INTERPRETER = _by_word(INTERPRETERS)
_BY_LOWER_NAME = {language.lower(): language for language in LANGUAGES}
