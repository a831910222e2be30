"""What makes a document worth keeping: the limits on its scores."""

from data_recipes.section import Fraction, Section


class FilterSection(Section):
    """Thresholds on the scores of a document: Gopher (arXiv 2112.11446, table A1) and C4 (1910.10683, 2.2)."""

    languages: list[str] = []
    """ISO 639-1 codes to keep; empty keeps every language."""
    min_words: int = 50
    max_words: int = 100_000
    min_mean_word_length: float = 3.0
    max_mean_word_length: float = 10.0
    max_symbol_to_word_ratio: float = 0.1
    """`#` and ellipses per word."""
    max_bullet_lines_fraction: Fraction = 0.9
    max_ellipsis_lines_fraction: Fraction = 0.3
    min_alpha_words_fraction: Fraction = 0.8
    """Words with at least one letter."""
    min_stop_words: int = 2
    """Different ones of: the, be, to, of, and, that, have, with."""
    max_duplicate_line_fraction: Fraction = 0.3
    max_top_4gram_fraction: Fraction = 0.16
    """Characters inside the most frequent word 4-gram, as a share of all."""
    drop_lorem_ipsum: bool = True
    drop_curly_brackets: bool = False
    """C4's rule against code in prose; wrong for corpora of documentation or code."""
