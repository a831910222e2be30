"""Retrieval from a long text: passkeys, keys among others, chains of variables, common words."""
