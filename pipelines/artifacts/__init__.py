"""The contracts between stages: schema, writer and reader of each kind of file, one module a kind."""
