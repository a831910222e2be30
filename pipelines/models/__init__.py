"""A checkpoint with its tokenizer, ours or a Hugging Face directory: what reads text and writes text."""
