"""Documents that are computed and not read: the parts that their kinds share, and ledgers."""
