"""HumanEval+ and MBPP+: programs judged by running them."""
