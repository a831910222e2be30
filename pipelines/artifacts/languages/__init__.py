"""What the data stages know of languages: their words and their scripts."""
