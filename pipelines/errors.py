"""User errors of the chain other than mistakes in a recipe."""

from arctic_errors import UserError


class OptionError(UserError, ValueError):
    """An option or an argument is wrong: the message names it, its value and the remedy."""


class NotInStoreError(UserError, LookupError):
    """The store does not hold the requested item: the message lists its contents."""


def require_encodable(text: str, name: str) -> None:
    """Raise OptionError if a text, which the message calls `name`, has lone surrogates: no encoding has them, so it can
    neither be stored nor become tokens."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise OptionError(
            f"{name}: its character {error.start + 1:,} is the lone surrogate U+{ord(text[error.start]):04X}, which no "
            'encoding has. Replace it: text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").'
        ) from None
