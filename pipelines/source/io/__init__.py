"""Bytes from folders, the web and object stores."""
