"""Figures of a report, as PNG for MLflow and as SVG for the page."""
