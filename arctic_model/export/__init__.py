"""A checkpoint in the formats of other engines: Hugging Face, GGUF, FP8, each compared with the model before it counts.

capabilities.py      the models that each engine supports
special_tokens.py    the ids that begin, end and pad a text
weights.py           tensors, layer by layer, into safetensors
huggingface.py       a directory that `transformers` and vLLM load
validation.py        loads an export with its engine, in a separate process, and compares
engines/             the programs of those processes; they import nothing of this project
remote_code/         the modeling files that lie in an exported directory
"""
