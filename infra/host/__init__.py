"""This machine: environment, packages, versions, arithmetic."""
