"""Commands about recipes: draft, plan, run, repeat, search, size."""
