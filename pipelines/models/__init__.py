"""A checkpoint with its tokenizer, ours or a Hugging Face directory, which reads and writes text."""
