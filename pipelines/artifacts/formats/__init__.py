"""File formats that several artifacts share."""
