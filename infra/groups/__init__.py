"""Groups of processes that hold something together, such as a model that is too large for one of them."""
