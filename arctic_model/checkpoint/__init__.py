"""Checkpoints: tensor names, files, reading and writing."""
