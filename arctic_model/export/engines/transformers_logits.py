"""Loads an exported directory with `transformers` and answers a request: see `arctic_model.export.validation`.

Run as a separate program, in any environment that has the library; it imports nothing of this project.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer


@torch.inference_mode()
def main(folder: str, request_file: str, answer_file: str) -> None:
    request = json.loads(Path(request_file).read_text(encoding="utf-8"))
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=True)
    model = AutoModelForCausalLM.from_pretrained(
        folder, local_files_only=True, trust_remote_code=True, dtype=getattr(torch, request["dtype"])
    ).eval()
    answer: dict[str, Any] = {"version": np.array(f"transformers {transformers.__version__}")}
    for number, prompt in enumerate(request["prompts"]):
        ids = torch.tensor([prompt["ids"]])
        answer[f"ids_{number}"] = np.array(tokenizer(prompt["text"]).input_ids)
        answer[f"logits_{number}"] = model(ids).logits[0].float().numpy()
        continued = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=request["max_new_tokens"],
            do_sample=False,
        )
        answer[f"greedy_{number}"] = continued[0, ids.shape[1] :].numpy()
    np.savez(answer_file, **answer)


if __name__ == "__main__":
    main(*sys.argv[1:])
