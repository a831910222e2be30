"""Tables of data: a row a line, with any content of its cells."""

from bisect import bisect_right

from pipelines.source.web.extraction.markup import Markup, Outermost, attribute
from pipelines.source.web.extraction.rendering.styles import Style

MAX_CELL_CHARACTERS = 1000
"""Characters of a cell above which a table lays out a page."""
MAX_COLUMNS_SPANNED = 50
_BLOCKS = frozenset({"pre", "blockquote", "h1", "h2", "h3", "article", "section", "form"})
"""Elements which no cell of data has."""


class _Shape:
    """The properties of a table while it is read."""

    def __init__(self, start: int) -> None:
        self.start, self.is_data, self.num_rows, self.num_cells = start, True, 0, 0
        self.most_cells = self.characters = 0

    def read(self, tag: str, text: str) -> None:
        if tag == "tr":
            self.num_rows += 1
            self.num_cells = 0
        elif tag in ("td", "th"):
            self.num_cells += 1
            self.most_cells = max(self.most_cells, self.num_cells)
            self.characters = 0
        else:
            self.is_data &= tag not in _BLOCKS
        if text:
            self.read_text(text)

    def read_text(self, text: str) -> None:
        self.characters += len(text)
        self.is_data &= self.characters <= MAX_CELL_CHARACTERS or not text.strip()


def tables_of_data(page: Markup) -> set[int]:
    """The tables of a page that hold data: at least two cells in a row, no table inside."""
    data: set[int] = set()
    for table in Outermost(page, page.elements(["table"])).starts:
        data |= _tables_of_data_in(page, table)
    return data


def tables_with_head(page: Markup) -> Outermost:
    """The tables of a page that have a head cell."""
    heads = page.elements(["th"])
    tables = page.elements(["table"]) if heads else ()
    return Outermost(
        page, (each for each in tables if bisect_right(heads, each) < bisect_right(heads, page.ends[each]))
    )


def _tables_of_data_in(page: Markup, outermost: int) -> set[int]:
    data: set[int] = set()
    around: list[_Shape] = []
    for index in range(outermost, page.ends[outermost] + 1):
        tag, text = page.tags[index], page.texts[index]
        if tag == "table":
            if around:
                around[-1].is_data = False
            around.append(_Shape(index))
            around[-1].read_text(text)
        elif tag == "/table":
            table = around.pop()
            if table.is_data and table.num_rows and table.most_cells >= 2:
                data.add(table.start)
            if around:
                around[-1].read_text(text)
        else:
            around[-1].read(tag, text)
    return data


class Table:
    """The cells of a table of data, row by row."""

    def __init__(self) -> None:
        self.rows: list[list[str]] = []
        self._below: dict[int, int] = {}

    def start_row(self) -> None:
        self.rows.append([])
        self._fill()

    def add(self, text: str, attributes: str) -> None:
        """Add a cell, and empty ones for the columns and rows that it spans."""
        if not self.rows:
            self.rows.append([])
        row = self.rows[-1]
        columns, rows = (_number(attribute(attributes, name)) for name in ("colspan", "rowspan"))
        for number in range(columns):
            if rows > 1:
                self._below[len(row)] = rows - 1
            row.append("" if number else text)
        self._fill()

    def lines(self, style: Style) -> list[str]:
        """The rows that are not empty."""
        rows = [row for row in self.rows if any(row)]
        width = max(map(len, rows), default=0)
        if width <= 1:
            return [row[0] for row in rows]
        return style.table([row + [""] * (width - len(row)) for row in rows])

    def _fill(self) -> None:
        """Add empty cells below those of the rows above that span this one."""
        row = self.rows[-1]
        while self._below.get(len(row), 0) > 0:
            self._below[len(row)] -= 1
            row.append("")


def _number(span: str) -> int:
    return min(max(int(span), 1), MAX_COLUMNS_SPANNED) if span.isdecimal() and len(span) < 5 else 1
