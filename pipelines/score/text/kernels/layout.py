"""Words, lines and paragraphs of a text: `codes`, its code points, in one compiled pass each. `table`: kinds of
characters by code point, from `characters.kinds`."""

from typing import Any

import numpy as np

from arctic_model.machine_code import compiler
from pipelines.score.text import bits
from pipelines.score.text.bits import (
    BLANK,
    BULLET,
    C4_END,
    CLOSER,
    IDEOGRAPH,
    IDEOGRAPHS_PER_WORD,
    LETTER,
    MULTIPLIER,
    SENTENCE_END,
    SPACED,
    STOP,
    SYLLABLE,
    WIDE_CLOSER,
)

C4_MAX_WORD_CHARACTERS = 1000
C4_MIN_WORDS_PER_LINE = 3

compiled = compiler(bits, nogil=True)


@compiled
def mix(key: Any, code: Any) -> Any:
    key = (key ^ np.uint64(code)) * MULTIPLIER
    return key ^ (key >> np.uint64(32))


@compiled
def words(codes: Any, table: Any) -> Any:
    size = len(codes) + 1
    keys, letters, scripts = np.empty(size, np.uint64), np.empty(size, np.bool_), np.empty(size, np.uint16)
    starts, lengths = np.empty(size, np.int64), np.empty(size, np.int64)
    count, start, key, letter, script = 0, -1, np.uint64(0), False, SPACED
    for index in range(len(codes) + 1):
        kind = table[codes[index]] if index < len(codes) else BLANK
        unspaced = kind & (IDEOGRAPH | SYLLABLE)
        if start >= 0 and (kind & BLANK or (letter and (unspaced or (script and kind & LETTER)))):
            keys[count], letters[count], starts[count], lengths[count] = key, letter, start, index - start
            scripts[count] = script
            count += 1
            start = -1
        if not kind & BLANK:
            if start < 0:
                start, key, letter, script = index, np.uint64(0), False, SPACED
            key = mix(key, codes[index])
            letter |= (kind & LETTER) != 0
            script |= unspaced
    return keys[:count], starts[:count], lengths[:count], letters[:count], scripts[:count]


@compiled
def ends_without_blank(codes: Any, table: Any, index: int) -> bool:
    """Whether a mark ends a sentence in any context, as those of other scripts than Latin do."""
    return bool(codes[index] > 127 and (table[codes[index]] & SENTENCE_END) != 0)


@compiled
def sentences(codes: Any, table: Any, start: int, end: int) -> int:
    """How many sentences end in a line; the last one may end with the line alone."""
    count, last, index = 0, -1, start
    while index < end:
        if table[codes[index]] & STOP:
            while index < end and table[codes[index]] & STOP:
                index += 1
            while index < end and table[codes[index]] & CLOSER:
                index += 1
            if index == end or table[codes[index]] & BLANK:
                count, last = count + 1, index
        elif ends_without_blank(codes, table, index):
            while index < end and ends_without_blank(codes, table, index):
                index += 1
            while index < end and table[codes[index]] & (CLOSER | WIDE_CLOSER):
                index += 1
            count, last = count + 1, index
        else:
            index += 1
    return count if last == end else count + 1


@compiled
def c4_sentences(codes: Any, table: Any, start: int, end: int) -> Any:
    """Sentences of a line without blanks around, -1 if C4 does not keep its form."""
    num_words, num_letters, longest, length = 0, 0, 0, 0
    for index in range(start, end):
        if table[codes[index]] & (IDEOGRAPH | SYLLABLE):
            num_letters, length = num_letters + 1, 0
        else:
            length = 0 if table[codes[index]] & BLANK else length + 1
            num_words += length == 1
        longest = max(longest, length)
    num_words += num_letters // IDEOGRAPHS_PER_WORD
    if num_words < C4_MIN_WORDS_PER_LINE or longest > C4_MAX_WORD_CHARACTERS:
        return -1
    last = end - 1
    while last > start and table[codes[last]] & (CLOSER | WIDE_CLOSER):
        last -= 1
    ended = table[codes[end - 1]] & C4_END or ends_without_blank(codes, table, last)
    if not ended or dots(codes, start, end):
        return -1
    return sentences(codes, table, start, end)


@compiled
def dots(codes: Any, start: int, end: int) -> bool:
    return end - start >= 3 and codes[end - 1] == 46 and codes[end - 2] == 46 and codes[end - 3] == 46


@compiled
def lines(codes: Any, table: Any) -> Any:
    size = 1
    for code in codes:
        size += code == 10
    keys, lengths, ended = np.empty(size, np.uint64), np.empty(size, np.int64), np.empty(size, np.int64)
    starts = np.empty(size, np.int64)
    bullet, ellipsis, punctuated = np.empty(size, np.bool_), np.empty(size, np.bool_), np.empty(size, np.bool_)
    count, line, first, last, key = 0, 0, -1, -1, np.uint64(0)
    for index in range(len(codes) + 1):
        if index < len(codes) and codes[index] != 10:
            key = mix(key, codes[index])
            if not table[codes[index]] & BLANK:
                first, last = index if first < 0 else first, index + 1
            continue
        if first >= 0:
            keys[count], starts[count], lengths[count] = key, line, index - line
            bullet[count] = (table[codes[first]] & BULLET) != 0
            ellipsis[count] = codes[last - 1] == 0x2026 or dots(codes, first, last)
            punctuated[count] = (table[codes[index - 1]] & SENTENCE_END) != 0
            ended[count] = c4_sentences(codes, table, first, last)
            count += 1
        line, first, key = index + 1, -1, np.uint64(0)
    marks = bullet[:count], ellipsis[:count], punctuated[:count], ended[:count]
    return keys[:count], starts[:count], lengths[:count], *marks


@compiled
def paragraphs(codes: Any, table: Any) -> Any:
    begin, end = 0, len(codes)
    while begin < end and table[codes[begin]] & BLANK:
        begin += 1
    while begin < end and table[codes[end - 1]] & BLANK:
        end -= 1
    size = 1
    for index in range(begin + 1, end):
        size += codes[index] == 10 and codes[index - 1] == 10
    keys, lengths = np.zeros(size, np.uint64), np.zeros(size, np.int64)
    count, newlines = 0, 0
    for index in range(begin, end):
        if codes[index] == 10:
            newlines += 1
            continue
        if newlines > 1:
            count += 1
        elif newlines == 1:
            keys[count], lengths[count] = mix(keys[count], np.uint32(10)), lengths[count] + 1
        newlines = 0
        keys[count], lengths[count] = mix(keys[count], codes[index]), lengths[count] + 1
    return keys[: count + 1], lengths[: count + 1]
