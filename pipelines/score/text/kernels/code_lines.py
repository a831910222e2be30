"""Lines of a text that are program code. `codes`: its code points; `table`, `marks`: kinds of characters by code point,
from `characters.kinds` and `code_lines.char_table`; a line is the code points from `first` to below `last`."""

from typing import Any

import numpy as np

from arctic_model.machine_code import compiler
from pipelines.score.text import bits
from pipelines.score.text.bits import (
    BLANK,
    BULLET,
    END,
    JOINT,
    LETTER,
    OPEN_CLOSE,
    OPERATOR,
    QUOTE,
    SENTENCE_END,
    VARIABLE,
)

MAX_GAP = 3
"""Lines between two lines of code that are code as well unless they read as a sentence: `else:`, `import os`."""
MAX_GAP_WORDS = 8
MAX_NAMES = 12
"""Plain words of a line in a file of code above which it is prose with any ending: imports list names."""
MIN_WORDS_AGAINST_MARKS = 4
"""A line with this many plain words for each 3 marks is prose with a few names of functions in it."""
COMMENT_STARTS = tuple(ord(character) for character in "#/*-;%")

compiled = compiler(bits, nogil=True)


@compiled
def is_word_character(codes: Any, table: Any, index: int, first: int, last: int) -> bool:
    if index < first or index >= last:
        return False
    code = codes[index]
    return bool((table[code] & LETTER) != 0) or 48 <= code <= 57 or code == 95


@compiled
def is_blank(codes: Any, table: Any, index: int, first: int, last: int) -> bool:
    return index < first or index >= last or (table[codes[index]] & BLANK) != 0


@compiled
def is_mark(codes: Any, table: Any, marks: Any, index: int, first: int, last: int) -> Any:
    """Whether the character at `index` is a mark that is common in code and rare in prose."""
    code = codes[index]
    if code >= 128 or marks[code] == 0 or (index > first and codes[index - 1] == code and code != 125):
        return False
    kind = marks[code]
    if kind & OPEN_CLOSE:
        opens = code == 40 or code == 91
        # A number in brackets behind a word is a note, a score or a year.
        note = index + 1 < last and 48 <= codes[index + 1] <= 57
        called = opens and not note and is_word_character(codes, table, index - 1, first, last)
        return code == 123 or code == 125 or called
    if kind & END:
        return index == last - 1
    if kind & OPERATOR:
        return code == 61 or not (
            is_blank(codes, table, index - 1, first, last) and is_blank(codes, table, index + 1, first, last)
        )
    if kind & JOINT:
        before = is_word_character(codes, table, index - 1, first, last)
        return before and is_word_character(codes, table, index + 1, first, last)
    if kind & VARIABLE:
        return index + 1 < last and not 48 <= codes[index + 1] <= 57 and not table[codes[index + 1]] & BLANK
    if kind & QUOTE:
        return index + 1 < last and codes[index + 1] == 58 and index > first
    return False


@compiled
def only_brackets(codes: Any, table: Any, marks: Any, first: int, last: int) -> bool:
    brackets = 0
    for index in range(first, last):
        code = codes[index]
        if table[code] & BLANK:
            continue
        if code >= 128 or marks[code] == 0 or code == 95:
            return False
        brackets += (marks[code] & (OPEN_CLOSE | END)) != 0
    return brackets > 0


@compiled
def plain_words(codes: Any, table: Any, first: int, last: int) -> int:
    """Words of two letters or more without other characters, except a comma or stop at their end."""
    count, start, letters = 0, -1, 0
    for index in range(first, last + 1):
        if index < last and not table[codes[index]] & BLANK:
            start = index if start < 0 else start
            letters += (table[codes[index]] & LETTER) != 0
        elif start >= 0:
            size = index - start
            ended = codes[index - 1] == 44 or codes[index - 1] == 46
            count += letters >= 2 and (letters == size or (ended and letters == size - 1))
            start, letters = -1, 0
    return count


@compiled
def is_one_word(codes: Any, table: Any, first: int, last: int) -> bool:
    letters = 0
    for index in range(first, last):
        letters += (table[codes[index]] & LETTER) != 0
    return letters == last - first


@compiled
def judge(codes: Any, table: Any, marks: Any, first: int, last: int) -> Any:
    """Whether a line is code by itself, and its plain words."""
    words = plain_words(codes, table, first, last)
    if only_brackets(codes, table, marks, first, last):
        return True, words
    num_marks, in_url = 0, False
    for index in range(first, last):
        begins_url = codes[index] == 58 and index + 2 < last and codes[index + 1] == 47 and codes[index + 2] == 47
        in_url = begins_url or (in_url and not table[codes[index]] & BLANK)
        num_marks += not in_url and is_mark(codes, table, marks, index, first, last)
    if num_marks >= 2:
        return MIN_WORDS_AGAINST_MARKS * num_marks > 3 * words, words
    return num_marks == 1 and words <= 1 and codes[last - 1] != 59, words


@compiled
def find(codes: Any, table: Any, marks: Any, starts: Any, lengths: Any) -> Any:
    size = len(starts)
    strong, short, sentence = np.zeros(size, np.bool_), np.zeros(size, np.bool_), np.zeros(size, np.bool_)
    indented, comment, single = np.zeros(size, np.bool_), np.zeros(size, np.bool_), np.zeros(size, np.bool_)
    opens = np.zeros(size, np.bool_)
    for line in range(size):
        first, last = starts[line], starts[line] + lengths[line]
        while table[codes[last - 1]] & BLANK:
            last -= 1
        while table[codes[first]] & BLANK:
            first += 1
        strong[line], words = judge(codes, table, marks, first, last)
        indented[line] = first - starts[line] >= 2 or codes[starts[line]] == 9
        short[line] = words <= MAX_GAP_WORDS and codes[last - 1] != 46 and not table[codes[first]] & BULLET
        sentence[line] = words > MAX_NAMES or (words > 2 and (table[codes[last - 1]] & SENTENCE_END) != 0)
        opens[line] = short[line] and not table[codes[last - 1]] & SENTENCE_END and codes[last - 1] != 58
        single[line] = words == 1 and not indented[line] and is_one_word(codes, table, first, last)
        for start in COMMENT_STARTS:
            comment[line] |= codes[first] == start
    code = near(strong)
    join(code, short, indented & short)
    if 2 * (code & ~comment).sum() > size - comment.sum():
        # A file of code: its imports, its comments and the text between its lines belong to it.
        code |= comment | ~sentence
        join(code, short, indented)
    for line in range(1, size):
        if starts[line] == starts[line - 1] + lengths[line - 1] + 1:
            # `for i in $*; do` opens an indented block, and `end`, `fi`, `done` close one.
            code[line - 1] |= code[line] and indented[line] and opens[line - 1]
            code[line] |= code[line - 1] and indented[line - 1] and single[line]
    return code


@compiled
def near(strong: Any) -> Any:
    """Lines that have another of their kind among the two before or after them."""
    size = len(strong)
    is_near = np.zeros(size, np.bool_)
    for line in range(size):
        if strong[line]:
            for other in range(max(0, line - 2), min(size, line + 3)):
                is_near[line] |= strong[other] and other != line
    return is_near


@compiled
def join(code: Any, weak: Any, indented: Any) -> None:
    """Indented lines next to code are code, and so are short ones between two lines of code."""
    size = len(code)
    for line in range(1, size):
        code[line] |= code[line - 1] and indented[line]
    for line in range(size - 2, -1, -1):
        code[line] |= code[line + 1] and indented[line]
    before = -1
    for line in range(size):
        if not code[line]:
            before = before if weak[line] else -1
            continue
        if before >= 0 and line - before <= MAX_GAP + 1:
            code[before:line] = True
        before = line
