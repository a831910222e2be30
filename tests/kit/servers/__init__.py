"""Servers on loopback that run while a test does."""
