"""Words, lines and paragraphs of a text, measured in compiled passes over its code points."""

from dataclasses import dataclass

import numpy as np

from pipelines.score.text.characters import kinds


@dataclass(frozen=True)
class Layout:
    """Words are separated by blanks; in a script without blanks each letter is a word, with the marks that follow it:
    `word_keys` equal if words are, `word_starts` and `word_lengths` in characters, `word_letters` whether one has a
    letter, `word_scripts` SPACED, IDEOGRAPH or SYLLABLE.

    Lines are those with more than blanks: `line_keys`, `line_starts` and `line_lengths` with the blanks around; whether
    each starts with a bullet, ends with an ellipsis, ends a sentence; and `line_sentences`, -1 if C4 would not keep it
    for its form. Paragraphs are separated by empty lines.
    """

    word_keys: np.ndarray
    word_starts: np.ndarray
    word_lengths: np.ndarray
    word_letters: np.ndarray
    word_scripts: np.ndarray
    line_keys: np.ndarray
    line_starts: np.ndarray
    line_lengths: np.ndarray
    line_bullet: np.ndarray
    line_ellipsis: np.ndarray
    line_punctuated: np.ndarray
    line_sentences: np.ndarray
    paragraph_keys: np.ndarray
    paragraph_lengths: np.ndarray


def layout(codes: np.ndarray) -> Layout:
    """The layout of a text given as code points."""
    from pipelines.score.text.kernels.layout import lines, paragraphs, words

    return Layout(*words(codes, kinds()), *lines(codes, kinds()), *paragraphs(codes, kinds()))
