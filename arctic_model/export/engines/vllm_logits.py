"""Loads an exported directory with vLLM and answers a request: see `arctic_model.export.validation`.

Run as a separate program, in any environment that has vLLM; it imports nothing of this project. The settings of the
engine (tensor parallelism, chunked prefill) are read from the request.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import vllm
from vllm import LLM, SamplingParams, TokensPrompt


def main(folder: str, request_file: str, answer_file: str) -> None:
    request = json.loads(Path(request_file).read_text(encoding="utf-8"))
    engine = LLM(
        folder,
        trust_remote_code=True,
        dtype=request["dtype"],
        max_logprobs=-1,
        logprobs_mode="raw_logits",
        enforce_eager=True,
        **request.get("engine", {}),
    )
    tokenizer = engine.get_tokenizer()
    answer: dict[str, Any] = {"version": np.array(f"vllm {vllm.__version__}")}
    prompts = [TokensPrompt(prompt_token_ids=prompt["ids"]) for prompt in request["prompts"]]
    sampling = SamplingParams(temperature=0.0, max_tokens=request["max_new_tokens"], prompt_logprobs=-1, logprobs=-1)
    for number, result in enumerate(engine.generate(prompts, sampling)):
        answer[f"ids_{number}"] = np.array(tokenizer(request["prompts"][number]["text"]).input_ids)
        # vLLM gives the logits before each token of the prompt; those before the first new token come with it.
        rows = [*result.prompt_logprobs[1:], result.outputs[0].logprobs[0]]
        answer[f"logits_{number}"] = np.array([[row[index].logprob for index in range(len(row))] for row in rows])
        answer[f"greedy_{number}"] = np.array(result.outputs[0].token_ids)
    np.savez(answer_file, **answer)


if __name__ == "__main__":
    main(*sys.argv[1:])
