"""Statistics of text: characters, words, lines, repetition, language, code."""
