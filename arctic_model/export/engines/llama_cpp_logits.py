"""Loads an exported GGUF file with llama.cpp and answers a request: see `arctic_model.export.validation`.

Run as a separate program, in any environment that has llama-cpp-python; it imports nothing of this project.
"""

import json
import sys
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np
from llama_cpp import Llama


def main(file: str, request_file: str, answer_file: str) -> None:
    request = json.loads(Path(request_file).read_text(encoding="utf-8"))
    longest = max(len(prompt["ids"]) for prompt in request["prompts"]) + request["max_new_tokens"]
    model = load(file, longest, **request.get("engine", {}))
    answer: dict[str, Any] = {"version": np.array(f"llama-cpp-python {llama_cpp.__version__}")}
    for number, prompt in enumerate(request["prompts"]):
        ids = prompt["ids"]
        answer[f"ids_{number}"] = np.array(model.tokenize(prompt["text"].encode(), add_bos=True, special=False))
        model.reset()
        model.eval(ids)
        answer[f"logits_{number}"] = np.array(model.scores[: len(ids)], dtype=np.float32)
        answer[f"greedy_{number}"] = np.array(greedy(model, request["max_new_tokens"], request["end"]))
    np.savez(answer_file, **answer)


def load(file: str, num_positions: int, flash_attn: bool = False) -> Llama:
    # The repacked layouts of some CPUs crash on Q8_0 experts (llama.cpp issue 20824).
    original = llama_cpp.llama_model_default_params

    def without_repacking() -> llama_cpp.llama_model_params:
        params = original()
        params.use_extra_bufts = False
        return params

    llama_cpp.llama_cpp.llama_model_default_params = without_repacking
    # A cache in float16, the default, would round keys and values even in float32. So would flash attention, with any
    # cache.
    cache = {"type_k": llama_cpp.GGML_TYPE_F32, "type_v": llama_cpp.GGML_TYPE_F32, "flash_attn": flash_attn}
    size = {"n_ctx": num_positions, "n_batch": num_positions}
    return Llama(file, logits_all=True, n_gpu_layers=0, verbose=False, **size, **cache)


def greedy(model: Llama, count: int, end: list[int]) -> list[int]:
    """The likeliest continuation, up to and with a token that ends an answer."""
    new: list[int] = []
    while len(new) < count:
        new.append(int(np.argmax(model.scores[model.n_tokens - 1])))
        if new[-1] in end or len(new) == count:
            break
        model.eval(new[-1:])
    return new


if __name__ == "__main__":
    main(*sys.argv[1:])
