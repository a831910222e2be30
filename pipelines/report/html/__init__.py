"""HTML without a template engine: elements, tables and the style sheet."""
