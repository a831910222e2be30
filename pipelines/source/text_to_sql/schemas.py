"""Generated SQLite schemas with rows: which tables, which columns, which values."""

import hashlib
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import combinations, islice

from pipelines.source.errors import InputError
from pipelines.source.text_to_sql.vocabulary import LABELS, NUMBER_RANGES, TEXT_VALUES, WORLDS, is_number, plural

GENERATOR_VERSION = 2
"""Raised with every change of the generated text: it is the fingerprint of the corpus."""
HELDOUT_TABLES = 0.1
"""Share of all possible tables (a name with its columns) that only held-out schemas have."""
NUM_TABLES = (1, 1, 2, 2, 2, 3)
MAX_COLUMNS = 5
PARENT_ROWS, CHILD_ROWS = (5, 8), (8, 14)
MAX_CATEGORIES = 4
"""Different values in a text column: few, so that groups have several rows."""

MAX_REPEATS = 1000
"""Draws in a row that are known already, after which the vocabulary counts as used up."""

MAX_PART = 0.9
"""Share of all different schemas that may be drawn: the last ones would take a draw as many tries as there are."""

Value = int | str | None


@dataclass(frozen=True)
class Table:
    """A table: `row` is the word for one of its rows, `columns` are without its key and without the key of `parent`,
    which is another table's `row`; `rows` have their values in the order of `all_columns`."""

    row: str
    columns: tuple[str, ...]
    parent: str | None
    rows: tuple[tuple[Value, ...], ...] = ()

    @property
    def name(self) -> str:
        """The plural, so that questions and queries have one word for it."""
        return plural(self.row)

    @property
    def key(self) -> str:
        return f"{self.row}_id"

    @property
    def label(self) -> str:
        return self.columns[0]

    @property
    def all_columns(self) -> tuple[str, ...]:
        return (self.key, *((f"{self.parent}_id",) if self.parent else ()), *self.columns)

    @cached_property
    def numbers(self) -> tuple[str, ...]:
        return tuple(column for column in self.columns if is_number(column))

    @cached_property
    def categories(self) -> tuple[str, ...]:
        return tuple(column for column in self.columns if column in TEXT_VALUES)

    def values(self, column: str) -> list[Value]:
        index = self.all_columns.index(column)
        return [row[index] for row in self.rows]


@dataclass(frozen=True)
class Schema:
    """One to three tables, each but the first referring to the one before it."""

    tables: tuple[Table, ...]

    @property
    def definition(self) -> frozenset[tuple[str, frozenset[str]]]:
        """The key that makes two schemas the same: their tables with their columns."""
        return frozenset((table.name, frozenset(table.columns)) for table in self.tables)

    @property
    def text(self) -> str:
        """The compact form that documents and prompts start with, a line a table."""
        return "".join(f"{table.name}({', '.join(table.all_columns)})\n" for table in self.tables)

    @property
    def script(self) -> str:
        """The SQL that makes the database."""
        return "".join(_create(table) + _insert(table) for table in self.tables)


def require_possible(num_schemas: int, heldout: bool) -> None:
    """Raise InputError if the vocabulary has not so many different schemas of one side."""
    possible = int(MAX_PART * num_possible(heldout))
    if num_schemas > possible:
        field = "num_heldout_schemas" if heldout else "num_schemas"
        raise InputError(f"{field} = {num_schemas}: the vocabulary gives {possible:,} different schemas. Lower it.")


@cache
def num_possible(heldout: bool) -> int:
    """Number of different schemas, held-out ones or those for training."""
    worlds = ([_num_tables(row, columns, heldout) for row, columns in world.items()] for world in WORLDS.values())
    return sum(math.prod(tables) for world in worlds for size in {*NUM_TABLES} for tables in combinations(world, size))


def schemas(seed: int, heldout: bool) -> Iterator[Schema]:
    """Different schemas, still without rows. No table of a held-out schema, name and columns, is in a training schema.

    Raises ValueError if the vocabulary holds no more; see `require_possible`.
    """
    draw = random.Random(f"schemas/{seed}/{heldout}")
    seen: set[frozenset[tuple[str, frozenset[str]]]] = set()
    repeats = 0
    while repeats < MAX_REPEATS:
        schema = _draw_schema(draw, heldout)
        repeats = repeats + 1 if schema.definition in seen else 0
        if not repeats:
            seen.add(schema.definition)
            yield schema
    side = "num_heldout_schemas" if heldout else "num_schemas"
    raise ValueError(f"text_to_sql: the vocabulary gives only about {len(seen)} different schemas. Lower {side}.")


def schema_slice(seed: int, heldout: bool, first: int, last: int) -> list[Schema]:
    """Schemas `first` to `last` - 1 of `schemas`."""
    return list(islice(schemas(seed, heldout), first, last))


def with_rows(schema: Schema, draw: random.Random) -> Schema:
    """`schema` with rows: numbers of a column are all different, so that an order by them has no ties."""
    tables: list[Table] = []
    for table in schema.tables:
        parents = len(tables[-1].rows) if tables else 0
        low, high = CHILD_ROWS if table.parent else PARENT_ROWS
        rows = _rows(table, draw.randint(low, high), parents, draw)
        tables.append(Table(table.row, table.columns, table.parent, rows))
    return Schema(tuple(tables))


def is_heldout_table(row: str, columns: tuple[str, ...]) -> bool:
    """The side that a table belongs to, by its digest: no list of the other side's tables is needed."""
    digest = hashlib.sha256(f"{row}({','.join(sorted(columns))})".encode()).digest()
    return int.from_bytes(digest[:8]) < HELDOUT_TABLES * 2**64


def _draw_schema(draw: random.Random, heldout: bool) -> Schema:
    world = WORLDS[draw.choice(list(WORLDS))]
    words = draw.sample(list(world), draw.choice(NUM_TABLES))
    tables = (
        Table(row, _draw_columns(row, world[row].split(), draw, heldout), parent)
        for row, parent in zip(words, (None, *words), strict=False)
    )
    return Schema(tuple(tables))


def _draw_columns(row: str, candidates: list[str], draw: random.Random, heldout: bool) -> tuple[str, ...]:
    while True:
        drawn = set(draw.sample(candidates[1:], draw.randint(2, MAX_COLUMNS - 1)))
        columns = (candidates[0], *(column for column in candidates if column in drawn))
        if any(map(is_number, columns)) and is_heldout_table(row, columns) == heldout:
            return columns


def _num_tables(row: str, columns: str, heldout: bool) -> int:
    """Number of sets of columns that `_draw_columns` can draw."""
    candidates = columns.split()
    drawn = (each for size in range(2, MAX_COLUMNS) for each in combinations(candidates[1:], size))
    every = ((candidates[0], *each) for each in drawn)
    return sum(any(map(is_number, each)) and is_heldout_table(row, each) == heldout for each in every)


def _rows(table: Table, count: int, parents: int, draw: random.Random) -> tuple[tuple[Value, ...], ...]:
    columns: list[list[Value]] = [list(range(1, count + 1))]
    if table.parent:
        columns.append([draw.randint(1, parents) for _ in range(count)])
    columns += [_column_values(column, count, draw) for column in table.columns]
    return tuple(zip(*columns, strict=True))


def _column_values(column: str, count: int, draw: random.Random) -> list[Value]:
    if column in LABELS:
        return list(draw.sample(LABELS[column].split(), count))
    if column in NUMBER_RANGES:
        low, high, step = NUMBER_RANGES[column]
        return list(draw.sample(range(low, high + 1, step), count))
    values = TEXT_VALUES[column].split()
    some = draw.sample(values, min(len(values), MAX_CATEGORIES))
    return [draw.choice(some) for _ in range(count)]


def _create(table: Table) -> str:
    columns = [f"{table.key} INTEGER PRIMARY KEY"]
    if table.parent:
        columns.append(f"{table.parent}_id INTEGER REFERENCES {plural(table.parent)}({table.parent}_id)")
    columns += [f"{column} {'INTEGER' if is_number(column) else 'TEXT'}" for column in table.columns]
    return f"CREATE TABLE {table.name} ({', '.join(columns)});\n"


def _insert(table: Table) -> str:
    rows = (", ".join(str(value) if isinstance(value, int) else f"'{value}'" for value in row) for row in table.rows)
    return f"INSERT INTO {table.name} VALUES {', '.join(f'({row})' for row in rows)};\n"
