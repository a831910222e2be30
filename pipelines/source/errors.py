"""Errors in the inputs of a corpus that a user can fix."""

from arctic_errors import UserError


class InputError(UserError, ValueError):
    """An input cannot be read as declared: the message starts with its field, such as `paths.2 = 'gone'`."""
