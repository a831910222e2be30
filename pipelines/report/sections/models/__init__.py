"""Sections about models: training, fine-tuning, evaluation and export."""
