"""The tasks: their questions, and the judging of answers."""
