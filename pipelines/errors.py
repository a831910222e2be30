"""User errors of the chain other than mistakes in a recipe."""

from arctic_errors import UserError


class OptionError(UserError, ValueError):
    """An option or an argument is wrong: the message names it, its value and the remedy."""


class NotInStoreError(UserError, LookupError):
    """The store does not hold the requested item: the message lists its contents."""
