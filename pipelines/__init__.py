"""The chain: from web data to an evaluated model, as stages."""
