"""A text as numbers: code points, the kind of each character, and the words in it, from compiled loops."""

import sys
import unicodedata
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np

from pipelines.artifacts.languages.scripts import IDEOGRAPHS, SYLLABLES
from pipelines.score.text.bits import (
    BLANK,
    BULLET,
    C4_END,
    CLOSER,
    IDEOGRAPH,
    LETTER,
    SENTENCE_END,
    STOP,
    SYLLABLE,
    WIDE_CLOSER,
)

BULLETS = "•‣◦▪●○*-–·"
C4_ENDS = ".?!\"'"
CLOSERS = "\"')]"
WIDE_CLOSERS = "”’」』）】》〉"
"""Characters that may follow the mark at the end of a sentence of Chinese or Japanese."""
STOPS = ".!?"
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
        from pipelines.score.text.kernels.words import find_words

        return Words(*find_words(self.codes, folds()))


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
