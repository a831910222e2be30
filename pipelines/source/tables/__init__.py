"""Rows of JSON Lines and Parquet files as documents."""
