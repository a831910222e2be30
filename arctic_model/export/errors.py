"""Errors of an export."""

from arctic_errors import ArcticError, UserError


class ExportError(UserError, ValueError):
    """A checkpoint cannot be exported as you asked: the message names the place, the value and the remedy."""


class ValidationError(ArcticError, RuntimeError):
    """An engine computes something else from an export than the model: there is no export."""
