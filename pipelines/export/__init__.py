"""The stage `export`: checkpoints in the formats of other engines."""
