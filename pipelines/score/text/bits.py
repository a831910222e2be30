"""Kinds of characters as bits, and the other numbers that compiled passes share with what calls them."""

import numpy as np

BLANK, LETTER, SENTENCE_END, BULLET, C4_END, CLOSER, STOP, WIDE_CLOSER, IDEOGRAPH, SYLLABLE = (
    np.uint16(1 << bit) for bit in range(10)
)
SPACED = np.uint16(0)
"""Beside IDEOGRAPH and SYLLABLE, the third kind of script: words with blanks between them."""
IDEOGRAPHS_PER_WORD, SYLLABLES_PER_WORD = 2, 3
"""Letters of a word in scripts without blanks between words, about: most words of Chinese have two, of Japanese two to
three; a Thai word has three consonants or vowels that are separate letters."""
OPEN_CLOSE, END, OPERATOR, QUOTE, JOINT, VARIABLE, OTHER = (np.uint8(1 << bit) for bit in range(7))
"""Marks of code. OTHER ones count only in a line without words."""
MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
"""2^64 divided by the golden ratio, made odd (Knuth, The Art of Computer Programming 3, 6.4)."""
