"""Which results a store still needs, the space they take, and their way from one store to another."""
