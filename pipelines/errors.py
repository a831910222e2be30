"""What a user of the chain can mend besides a recipe."""

from arctic_errors import UserError


class OptionError(UserError, ValueError):
    """An option or an argument is wrong: the message names it, its value and the mend."""


class NotInStoreError(UserError, LookupError):
    """The store does not hold what you asked for: the message says what it holds."""
