"""Generated text-to-SQL documents: schemas, rows, questions and queries."""
