"""The respondents of an evaluation and their prompts: checkpoints and stored answers, the chat template, the
tokenizer."""
