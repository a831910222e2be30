"""Who is asked, and in which form: checkpoints and stored answers, the chat template, the tokenizer."""
