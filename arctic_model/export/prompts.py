"""The fixed texts by which an export is compared with its model: prose, code, SQL, and hard cases for tokenizers."""

from pathlib import Path

from arctic_model.export.errors import ExportError
from arctic_model.export.special_tokens import SpecialTokens, read_tokenizer
from arctic_model.export.validation import Prompt

TEXTS = (
    "The quick brown fox jumps over the lazy dog.",
    "def add(a, b):\n\treturn a + b  # a tab, two spaces\n",
    "SELECT name, COUNT(*) FROM singer WHERE age > 30 GROUP BY name;",
    "Das Café in Zürich öffnet um 8 Uhr; señor, ça va?",
    "日本語と中文、한국어 🙂🚀",
    "x = {'a': [1, 2.5e-3], \"b\": None}\r\n",
    "   three spaces,\n\n\nthree lines, 1234567890",
    "#include <stdio.h>\nint main(void) { return 0; }",
)


def prompts(tokenizer: Path, max_positions: int, max_new_tokens: int) -> list[Prompt]:
    """TEXTS as the model reads them, without those that do not fit `max_positions` with `max_new_tokens` more.

    Raises ExportError if none fits.
    """
    encoder, _ = read_tokenizer(tokenizer)
    special = SpecialTokens.read(tokenizer)
    before = (special.begin,) if special.begins else ()
    encoded = [Prompt(text, (*before, *encoder.encode(text, add_special_tokens=False).ids)) for text in TEXTS]
    fitting = [prompt for prompt in encoded if len(prompt.ids) + max_new_tokens <= max_positions]
    if not fitting:
        shortest = min(len(prompt.ids) for prompt in encoded)
        raise ExportError(
            f"max_positions = {max_positions}: the texts that exports are compared by have {shortest} tokens and more, "
            f"and {max_new_tokens} follow. Train with more positions."
        )
    return fitting
