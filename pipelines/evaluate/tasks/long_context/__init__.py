"""What a model finds again in a long text: passkeys, keys among others, chains of variables, common words."""
