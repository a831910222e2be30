"""A text as numbers: code points, the kind of each character, and the words in it, from compiled loops."""

import sys
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np

from pipelines.artifacts.languages.scripts import IDEOGRAPHS, SYLLABLES

BLANK, LETTER, SENTENCE_END, BULLET, C4_END, CLOSER, STOP, WIDE_CLOSER, IDEOGRAPH, SYLLABLE = (
    np.uint16(1 << bit) for bit in range(10)
)
BULLETS = "•‣◦▪●○*-–·"
C4_ENDS = ".?!\"'"
CLOSERS = "\"')]"
WIDE_CLOSERS = "”’」』）】》〉"
"""Characters that may follow the mark at the end of a sentence of Chinese or Japanese."""
STOPS = ".!?"
MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
"""2^64 divided by the golden ratio, made odd (Knuth, The Art of Computer Programming 3, 6.4)."""
SENTENCE_ENDS = (
    "!.?։؝؞؟۔܀܁܂߹࠷࠹࠽࠾।॥၊။።፧፨᙮᜵᜶។៕៖៙៚᠃᠉᥄᥅᪨᪩᪪᪫᭚᭛᭞᭟᭽᭾᰻᰼᱾᱿‼‽⁇⁈⁉⸮⸼⹓⹔。꓿꘎꘏꛳꛷꡶꡷꣎꣏꤯꧈꧉꩝꩞꩟꫰꫱꯫﹒﹖﹗"
    "！．？｡𐩖𐩗𐽕𐽖𐽗𐽘𐽙𐾆𐾇𐾈𐾉𑁇𑁈𑂾𑂿𑃀𑃁𑅁𑅂𑅃𑇅𑇆𑇍𑇞𑇟𑈸𑈹𑈻𑈼𑊩𑑋𑑌𑗂𑗃𑗉𑗊𑗋𑗌𑗍𑗎𑗏𑗐𑗑𑗒𑗓𑗔𑗕𑗖𑗗𑙁𑙂𑜼𑜽𑜾𑥄𑥆𑩂𑩃𑪛𑪜𑱁𑱂𑻷𑻸𑽃𑽄𖩮𖩯𖫵𖬷𖬸𖭄𖺘𛲟𝪈"
)
"""Unicode's Sentence_Terminal characters (Unicode 16, PropList.txt), as FineWeb's rule takes them."""


@dataclass(frozen=True)
class Words:
    """Words of a text: runs of letters, digits and `_`, folded (NFKC and lower case, character by character).

    `hashes`: uint64, equal if folded words are; `starts`, `ends`: their positions in the text.
    """

    hashes: np.ndarray
    starts: np.ndarray
    ends: np.ndarray


class Characters:
    """A text with its code points, and its folded words when they are asked for."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.codes = np.frombuffer(text.encode("utf-32-le", errors="surrogatepass"), np.uint32)

    @cached_property
    def words(self) -> Words:
        return Words(*_word_kernel()(self.codes, folds()))


@cache
def kinds() -> np.ndarray:
    """uint16 by code point: the bits of its kinds, BLANK as by `str.isspace` and LETTER as by `str.isalpha`; IDEOGRAPH
    and SYLLABLE are letters of scripts without blanks between words."""
    table = np.zeros(sys.maxunicode + 1, np.uint16)
    for code in range(sys.maxunicode + 1):
        character = chr(code)
        table[code] = BLANK * character.isspace() | LETTER * character.isalpha()
    marks = {
        SENTENCE_END: SENTENCE_ENDS,
        BULLET: BULLETS,
        C4_END: C4_ENDS,
        CLOSER: CLOSERS,
        STOP: STOPS,
        WIDE_CLOSER: WIDE_CLOSERS,
    }
    for bit, members in marks.items():
        table[[ord(character) for character in members]] |= bit
    for bit, ranges in ((IDEOGRAPH, IDEOGRAPHS), (SYLLABLE, SYLLABLES)):
        for first, last in ranges:
            table[first : last + 1] |= bit * ((table[first : last + 1] & LETTER) != 0)
    return table


@cache
def folds() -> np.ndarray:
    """uint32 by code point: the folded character of a word, 0 for separators of words.

    Characters whose folded form has several characters are not folded.
    """
    table = np.zeros(sys.maxunicode + 1, np.uint32)
    for code in range(sys.maxunicode + 1):
        character = chr(code)
        if character.isalnum() or character == "_":
            folded = unicodedata.normalize("NFKC", character).lower()
            table[code] = ord(folded) if len(folded) == 1 else code
    return table


@cache
def _word_kernel() -> Callable[..., tuple[np.ndarray, np.ndarray, np.ndarray]]:
    # Imported here: numba takes longer to import than most commands that score nothing take to run.
    from numba import njit

    @njit(nogil=True)
    def find_words(codes: np.ndarray, folds: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        size = len(codes) // 2 + 1
        hashes, starts, ends = np.empty(size, np.uint64), np.empty(size, np.int64), np.empty(size, np.int64)
        count, key, start = 0, np.uint64(0), -1
        for index in range(len(codes) + 1):
            folded = folds[codes[index]] if index < len(codes) else np.uint32(0)
            if folded:
                if start < 0:
                    start, key = index, np.uint64(0)
                key = (key ^ np.uint64(folded)) * MULTIPLIER
                key ^= key >> np.uint64(32)
            elif start >= 0:
                hashes[count], starts[count], ends[count] = key, start, index
                count += 1
                start = -1
        return hashes[:count], starts[:count], ends[:count]

    return find_words
