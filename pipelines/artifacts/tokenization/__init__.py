"""From text to ids and back: tokenizer, chat template, and packed sequences of tokens."""
