"""The optimizer step: its settings, AdamW and Muon, and the learning-rate schedule."""
