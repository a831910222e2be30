"""This machine: environment, packages, versions, arithmetic, and the checks of `arctic doctor`."""
