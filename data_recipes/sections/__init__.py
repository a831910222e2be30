"""The sections of recipe pages."""
