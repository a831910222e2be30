"""One contender of decode.py in a separate process: `decode_contender.py NAME FOLDER THREADS`.

Answers each line of stdin, a JSON object `{"prompts": [[id, ...], ...], "new": n}`, with a line of JSON: the
seconds of continuing all prompts by n ids, the likeliest each time, and these ids. It imports nothing of this project
except for the contenders `ours`, so other engines run in separate environments.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

Write = Callable[[list[list[int]], int], list[list[int]]]
MAX_BATCH = 32


def ours(folder: Path, threads: int, dtype: str) -> Write:
    import torch

    from arctic_model import ArcticModel
    from arctic_model.inference.arctic_decoder import ArcticDecoder
    from arctic_model.inference.completion import Request
    from arctic_model.inference.engine import Engine

    torch.set_num_threads(threads)
    model = ArcticDecoder(ArcticModel.from_pretrained(folder / "checkpoint", dtype=getattr(torch, dtype)))
    engines = {size: Engine(model, max_batch=size) for size in (1, MAX_BATCH)}

    def write(prompts: list[list[int]], num_new: int) -> list[list[int]]:
        engine = engines[1 if len(prompts) == 1 else MAX_BATCH]
        return [completion.ids for completion in engine.run([Request(prompt, num_new) for prompt in prompts])]

    return write


def transformers(folder: Path, threads: int) -> Write:
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(threads)
    export = folder / "huggingface"
    model = AutoModelForCausalLM.from_pretrained(export, dtype=torch.float32, trust_remote_code=True).eval()

    def write(prompts: list[list[int]], num_new: int) -> list[list[int]]:
        ids = torch.tensor(prompts)
        options: dict[str, Any] = {"max_new_tokens": num_new, "min_new_tokens": num_new, "do_sample": False}
        with torch.inference_mode():
            written = model.generate(ids, attention_mask=torch.ones_like(ids), **options)
        return [row[ids.shape[1] :].tolist() for row in written]

    return write


def llama_cpp(file: Path, threads: int) -> Write:
    import llama_cpp as library
    import numpy as np

    params = library.llama_model_default_params()
    model = library.llama_model_load_from_file(str(file).encode(), params)
    num_ids = library.llama_vocab_n_tokens(library.llama_model_get_vocab(model))
    sizes = library.llama_context_default_params()
    sizes.n_ctx, sizes.n_batch, sizes.n_ubatch, sizes.n_seq_max = 8192, 4096, 512, MAX_BATCH
    sizes.n_threads = sizes.n_threads_batch = threads
    sizes.kv_unified = True
    sizes.type_k = sizes.type_v = library.GGML_TYPE_F32 if "f32" in file.name else library.GGML_TYPE_F16
    if "f32" in file.name:
        # Flash attention rounds keys and values to float16, with any dtype of the cache: other experts are chosen then.
        sizes.flash_attn_type = library.LLAMA_FLASH_ATTN_TYPE_DISABLED
    context = library.llama_init_from_model(model, sizes)
    batch = library.llama_batch_init(4096, 0, 1)

    def read(rows: list[tuple[int, int, int, bool]]) -> list[int]:
        """Reads (id, position, sequence, is_last); the likeliest next id behind each last one."""
        for number, (token, position, sequence, is_last) in enumerate(rows):
            batch.token[number], batch.pos[number] = token, position
            batch.n_seq_id[number], batch.seq_id[number][0], batch.logits[number] = 1, sequence, is_last
        batch.n_tokens = len(rows)
        if library.llama_decode(context, batch):
            raise RuntimeError("llama.cpp could not read the batch")
        last = [number for number, row in enumerate(rows) if row[3]]
        logits = [library.llama_get_logits_ith(context, number) for number in last]
        return [int(np.ctypeslib.as_array(row, (num_ids,)).argmax()) for row in logits]

    def write(prompts: list[list[int]], num_new: int) -> list[list[int]]:
        library.llama_memory_clear(library.llama_get_memory(context), True)
        rows = [
            (token, position, sequence, position == len(prompt) - 1)
            for sequence, prompt in enumerate(prompts)
            for position, token in enumerate(prompt)
        ]
        written = [[token] for token in read(rows)]
        for _ in range(num_new - 1):
            positions = [len(prompt) + len(new) - 1 for prompt, new in zip(prompts, written, strict=True)]
            rows = [
                (new[-1], location, number, True)
                for number, (new, location) in enumerate(zip(written, positions, strict=True))
            ]
            for new, token in zip(written, read(rows), strict=True):
                new.append(token)
        return written

    return write


def vllm(folder: Path, threads: int) -> Write:
    os.environ |= {
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "OMP_NUM_THREADS": str(threads),
        "VLLM_LOGGING_LEVEL": "ERROR",
    }
    from vllm import LLM, SamplingParams, TokensPrompt

    engine = LLM(
        str(folder / "huggingface"),
        trust_remote_code=True,
        dtype="float32",
        enforce_eager=True,
        max_model_len=1024,
        max_num_seqs=MAX_BATCH,
        kv_cache_memory_bytes=2**29,
        enable_prefix_caching=False,
    )

    def write(prompts: list[list[int]], num_new: int) -> list[list[int]]:
        sampling = SamplingParams(temperature=0.0, max_tokens=num_new, ignore_eos=True, detokenize=False)
        inputs = [TokensPrompt(prompt_token_ids=prompt) for prompt in prompts]
        return [list(result.outputs[0].token_ids) for result in engine.generate(inputs, sampling, use_tqdm=False)]

    return write


CONTENDERS: dict[str, Callable[[Path, int], Write]] = {
    "ours": partial(ours, dtype="float32"),
    "ours bfloat16": partial(ours, dtype="bfloat16"),
    "transformers generate": transformers,
    "llama.cpp F32": lambda folder, threads: llama_cpp(folder / "f32.gguf", threads),
    "llama.cpp F16": lambda folder, threads: llama_cpp(folder / "f16.gguf", threads),
    "vLLM": vllm,
}


def main(name: str, folder: str, threads: str) -> None:
    # Libraries print to stdout; the answers go to the real stdout.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    write = CONTENDERS[name](Path(folder), int(threads))
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        started = time.perf_counter()
        ids = write(request["prompts"], request["new"])
        print(json.dumps({"seconds": time.perf_counter() - started, "ids": ids}), file=answers, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
