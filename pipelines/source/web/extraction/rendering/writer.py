"""A parsed page as text, plain or in Markdown: headings, lists, quotations, listings, tables and formulas.

One look at the markup of the tree, token by token and without recursion, for elements nest as deep as they like. Text
is not escaped: a language model reads the page's own words. Links and emphasis are left out.
"""

from collections.abc import Iterator

from pipelines.source.web.extraction.markup import FIXED_BLANK, PHRASES, VOID, Markup, attribute
from pipelines.source.web.extraction.rendering import listings
from pipelines.source.web.extraction.rendering.styles import Style
from pipelines.source.web.extraction.rendering.tables import Table, tables_of_data

MAX_INDENTED = 12
"""Lists and quotations inside each other from which nothing is indented any more."""
_BLOCKS = frozenset(
    [
        *("address", "article", "aside", "body", "caption", "center", "dd", "details", "dialog", "div", "dl", "dt"),
        *("fieldset", "figcaption", "figure", "footer", "form", "header", "hgroup", "html", "legend", "li", "main"),
        *("menu", "nav", "ol", "p", "search", "section", "summary", "table", "tbody", "td", "tfoot", "th"),
        *("thead", "tr", "ul"),
    ]
)
_HEADINGS = frozenset(f"h{level}" for level in range(1, 7))
_PARAGRAPH = ("p", "/p")
_SEPARATE = frozenset({"p", "pre", "blockquote", "hr", *_HEADINGS})
"""Elements with an empty line before and after them in plain text."""
_UNPRINTED = frozenset(
    [
        *("audio", "button", "canvas", "datalist", "head", "iframe", "math", "noscript", "object", "script", "select"),
        *("style", "svg", "template", "textarea", "title", "video"),
    ]
)
_CODE = frozenset({"code", "kbd", "samp", "tt"})
_CONTAINERS = frozenset({"li", "blockquote", "dd"})
_PLAIN = frozenset(
    f"{slash}{tag}" for slash in ("", "/") for tag in _BLOCKS - {"dd", "li", "menu", "ol", "table", "ul"}
)
"""Start and end tags of blocks that only end the paragraph before."""
_BREAK = "\ufdd1"
"""Placeholder for a line break in a paragraph; a noncharacter of Unicode."""
_RAISED = str.maketrans("0123456789+-−=()n", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁻⁼⁽⁾ⁿ")
_LOWERED = str.maketrans("0123456789+-−=()", "₀₁₂₃₄₅₆₇₈₉₊₋₋₌₍₎")


def render(page: Markup, style: Style) -> str:
    """Text of a page."""
    writer = _Writer(page, style)
    writer.read()
    writer.end_paragraph()
    return "\n".join(writer.lines).replace(FIXED_BLANK, " ")


class _Container:
    """A list item, quotation or definition: the mark before its first line, and the indentation of the others."""

    def __init__(self, tag: str, mark: str, indent: str, follows_on: bool) -> None:
        self.tag, self.indent, self.is_empty = tag, indent, True
        self.follows_on = follows_on
        """Whether it follows the previous line directly, without an empty line."""
        self._mark = mark

    def unmark(self) -> None:
        """Mark nothing if nothing was written yet: a listing that is indented by a quotation is none."""
        if self.is_empty:
            self._mark = self.indent = ""

    def prefix(self) -> str:
        """The prefix of the next line."""
        prefix = self._mark if self.is_empty else self.indent
        self.is_empty = False
        return prefix


class _List:
    """A list, the number of its next item if it counts them, and how many it has."""

    def __init__(self, style: Style, number: int | None) -> None:
        self._style, self.number, self.num_items = style, number, 0

    def mark(self, value: str) -> str:
        """The mark of the next item, of the number `value` if that is one."""
        self.num_items += 1
        if self.number is None:
            return self._style.bullet
        number = _integer(value, self.number)
        self.number = number + 1
        return self._style.number.format(number)


class _Writer:
    """The lines written so far, and all that is open."""

    def __init__(self, page: Markup, style: Style) -> None:
        self.lines: list[str] = []
        self._page = page
        self._style = style
        self._is_separate = True
        self._data_tables = tables_of_data(page)
        self._paragraph: list[str] = []
        self._heading = ""
        self._containers: list[_Container] = []
        self._lists: list[_List] = []
        self._skipped = ""
        self._skipped_depth = 0
        self._code: list[str] | None = None
        self._language = ""
        self._table: Table | None = None
        self._cell = ""
        self._marks: list[tuple[str, int]] = []

    def read(self) -> None:
        """Write the page, except for the paragraph at its end."""
        page = self._page
        for index, (tag, text) in enumerate(zip(page.tags, page.texts, strict=True)):
            if tag and tag not in PHRASES:
                if self._skipped:
                    self._skip(tag)
                elif tag in _PLAIN and self._code is None and self._table is None:
                    self.end_paragraph()
                    self._is_separate |= tag in _PARAGRAPH
                elif tag[0] == "/":
                    self._end(tag[1:])
                else:
                    self._start(tag, page.attributes[index], index)
            if not text or self._skipped:
                continue
            if self._code is not None:
                self._code.append(text)
            elif self._paragraph or not text.isspace():
                self._paragraph.append(text)

    def end_paragraph(self) -> None:
        """Write the paragraph that is open, a line for each of its line breaks."""
        if self._marks:
            self._marks.clear()
        if not self._paragraph:
            return
        text = "".join(self._paragraph)
        self._paragraph.clear()
        if text.isspace():
            return
        lines = (" ".join(line.split()) for line in text.split(_BREAK))
        block = [line for line in lines if line.strip(FIXED_BLANK)]
        if self._heading and block:
            block, self._heading = [self._heading + " ".join(block)], ""
        self._write(block)

    def _write(self, block: list[str], *, is_indented: bool = True) -> None:
        """Write a block, an empty line before it if it is no item of a list that goes on."""
        if not block:
            return
        marked, innermost = self._containers[:MAX_INDENTED], self._containers[-1:]
        new = next((each for each in (*marked, *innermost) if each.is_empty), None)
        follows_on = new is not None and new.follows_on
        if self.lines and not follows_on and (self._is_separate or self._style.separates_every_block):
            self.lines.append("".join(each.indent for each in marked if not each.is_empty).rstrip())
        for line in block:
            prefix = "".join([each.prefix() for each in marked])
            prefix = prefix if is_indented else ""
            self.lines.append(prefix + line if line else prefix.rstrip())
        for each in innermost:
            each.is_empty = False
        self._is_separate = False

    def _skip(self, tag: str) -> None:
        if tag == self._skipped:
            self._skipped_depth += 1
        elif tag == f"/{self._skipped}":
            self._skipped_depth -= 1
            if not self._skipped_depth:
                self._skipped = ""

    # ---------------------------------------------------------------- start tags

    def _start(self, tag: str, content: str, index: int) -> None:
        if tag in VOID:
            self._void(tag)
            return
        if tag in _UNPRINTED:
            self._skipped, self._skipped_depth = tag, 1
            return
        if self._code is not None:
            self._start_in_code(tag, content)
        elif self._table is not None:
            self._start_in_table(tag, content)
        elif tag in _BLOCKS or tag in _HEADINGS or tag in ("pre", "blockquote"):
            self._start_block(tag, content, index)
        else:
            self._start_inline(tag)

    def _void(self, tag: str) -> None:
        if self._code is not None:
            if tag == "br":
                self._code.append("\n")
        elif tag == "br":
            self._paragraph.append(" " if self._table is not None else _BREAK)
        elif tag == "hr" and self._table is None:
            self.end_paragraph()
            self._is_separate = True

    def _start_in_code(self, tag: str, content: str) -> None:
        if tag == "code" and not self._language:
            self._language = listings.language([content])
        self._end_line_of_code(tag)

    def _end_line_of_code(self, tag: str) -> None:
        """Lines of a listing may be blocks."""
        code = self._code
        if tag in _BLOCKS and code and not code[-1].endswith("\n"):
            code.append("\n")

    def _start_in_table(self, tag: str, content: str) -> None:
        assert self._table is not None
        if tag == "tr":
            self._table.start_row()
        elif tag in ("td", "th"):
            self._paragraph, self._cell = [], content
        elif tag in _BLOCKS or tag in _HEADINGS:
            self._paragraph.append(" ")
        else:
            self._start_inline(tag)

    def _start_block(self, tag: str, content: str, index: int) -> None:
        self.end_paragraph()
        self._is_separate |= tag in _SEPARATE
        if tag in _HEADINGS:
            self._heading = self._style.headings.get(tag, "")
        elif tag == "pre":
            self._code = []
            if self._containers and self._containers[-1].tag == "blockquote":
                self._containers[-1].unmark()
            self._language = listings.language(self._attributes_around(index))
        elif tag == "table" and index in self._data_tables:
            self._table = Table()
        elif tag in ("ul", "ol", "menu"):
            self._lists.append(_List(self._style, _integer(attribute(content, "start"), 1) if tag == "ol" else None))
        elif tag in _CONTAINERS:
            self._start_container(tag, content)

    def _attributes_around(self, index: int) -> Iterator[str]:
        """Attributes of an element and of the two around it."""
        page = self._page
        for _ in range(3):
            yield page.attributes[index]
            index = page.parents[index]
            while page.tags[index] in PHRASES:
                index = page.parents[index]

    def _start_container(self, tag: str, content: str) -> None:
        style = self._style
        mark, indent, follows_on = style.quotation, style.quotation, False
        if tag == "dd":
            (mark, indent), follows_on = style.definition, True
        elif tag == "li":
            items = self._lists[-1] if self._lists else _List(style, None)
            mark = items.mark(attribute(content, "value"))
            indent = " " * (len(mark) if style.indent is None else style.indent)
            follows_on = items.num_items > 1 or len(self._lists) > 1
        self._containers.append(_Container(tag, mark, indent, follows_on))

    def _start_inline(self, tag: str) -> None:
        is_marked = self._style.has_inline_marks and (tag in _CODE or tag in ("sup", "sub"))
        # An exponent or the number of a footnote would become digits of the number before it.
        if is_marked or (tag == "sup" and self._paragraph and self._paragraph[-1][-1:].isdigit()):
            self._marks.append((tag, len(self._paragraph)))

    # ---------------------------------------------------------------- end tags

    def _end(self, tag: str) -> None:
        if self._code is not None:
            self._end_in_code(tag)
        elif self._table is not None:
            self._end_in_table(tag)
        elif tag in _BLOCKS or tag in _HEADINGS or tag == "blockquote":
            self._end_block(tag)
        else:
            self._end_inline(tag)

    def _end_in_code(self, tag: str) -> None:
        assert self._code is not None
        if tag != "pre":
            self._end_line_of_code(tag)
            return
        lines = listings.lines_of("".join(self._code))
        block = self._style.listing(lines, self._language) if lines else []
        self._write(block, is_indented=self._style.indents_listings)
        self._code = None
        self._is_separate = True

    def _end_in_table(self, tag: str) -> None:
        assert self._table is not None
        if tag in ("td", "th"):
            self._table.add(" ".join("".join(self._paragraph).replace(FIXED_BLANK, " ").split()), self._cell)
            self._paragraph = []
            self._marks.clear()
        elif tag == "caption":
            caption, self._paragraph = self._paragraph, []
            self._write([" ".join("".join(caption).split())] if "".join(caption).strip() else [])
        elif tag == "table":
            self._write(self._table.lines(self._style))
            self._table, self._paragraph = None, []
        elif tag in _BLOCKS or tag in _HEADINGS:
            self._paragraph.append(" ")
        else:
            self._end_inline(tag)

    def _end_block(self, tag: str) -> None:
        self.end_paragraph()
        self._is_separate |= tag in _SEPARATE
        if tag in _HEADINGS:
            self._heading = ""
        elif tag in ("ul", "ol", "menu"):
            if self._lists:
                self._lists.pop()
        elif tag in _CONTAINERS and self._containers and self._containers[-1].tag == tag:
            self._containers.pop()

    def _end_inline(self, tag: str) -> None:
        if not self._marks or self._marks[-1][0] != tag:
            return
        _, start = self._marks.pop()
        text = "".join(self._paragraph[start:])
        if tag in _CODE:
            if any(mark in _CODE for mark, _ in self._marks):
                return
            text = _around(text, listings.inline(text.replace(_BREAK, " ")))
        else:
            shifted = _shifted(text, tag)
            text = shifted if self._style.has_inline_marks or not shifted.startswith("<") else text
        self._paragraph[start:] = [text]


def _integer(text: str, otherwise: int) -> int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 9 else otherwise


def _around(text: str, code: str) -> str:
    """`code` with the blanks around `text`."""
    before = " " if text[:1].isspace() else ""
    after = " " if text[-1:].isspace() else ""
    return f"{before}{code}{after}"


def _shifted(text: str, tag: str) -> str:
    """A superscript or subscript in Unicode's characters, as a tag if it has none, and plain if it is a reference."""
    shifted = text.strip().translate(_RAISED if tag == "sup" else _LOWERED)
    if not shifted or text.strip().startswith("[") or "$" in shifted:
        return text
    if not any(character.isascii() and not character.isspace() for character in shifted):
        return shifted
    return f"<{tag}>{text.strip()}</{tag}>" if len(shifted) < 20 else text
