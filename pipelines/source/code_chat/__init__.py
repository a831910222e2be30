"""Short programming tasks as conversations, whose answers were executed."""
