"""`arctic generate`."""

import json
import sys
from typing import Annotated

import typer

from pipelines.cli.terminal.options import DEFAULT_STORE, StoreFolder
from pipelines.cli.terminal.writing import (
    CheckpointName,
    MaxNewTokens,
    MinP,
    Seed,
    Stop,
    StreamSinks,
    StreamWindowSize,
    Temperature,
    TokenizerFolder,
    TopK,
    TopP,
    WeightsDtype,
    load_named_model,
    writing_options,
)


def command(
    checkpoint: CheckpointName,
    prompt: Annotated[list[str], typer.Option(help="Text to continue; repeatable, and '-' reads standard input.")],
    max_new_tokens: MaxNewTokens = 128,
    temperature: Temperature = 0.0,
    top_p: TopP = 1.0,
    top_k: TopK = 0,
    min_p: MinP = 0.0,
    seed: Seed = 0,
    stop: Stop = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per prompt: text, finish, token counts.")
    ] = False,
    dtype: WeightsDtype = "stored",
    stream_window: StreamWindowSize = None,
    stream_sinks: StreamSinks = 4,
    tokenizer: TokenizerFolder = None,
    store: StoreFolder = DEFAULT_STORE,
) -> None:
    """Continue prompts with a checkpoint. Several prompts are continued side by side."""
    from pipelines.models.writing import encode_text, new_engine

    options = writing_options(max_new_tokens, temperature, top_p, top_k, min_p, seed, stop)
    model = load_named_model(checkpoint, tokenizer, store, dtype, stream_window, stream_sinks)
    engine = new_engine(model, len(prompt))
    texts = [sys.stdin.read() if text == "-" else text for text in prompt]
    requests = [options.request(encode_text(model.codec, text), engine.capacity) for text in texts]
    for text, completion in zip(texts, engine.run(requests), strict=True):
        answer = completion.text.text()
        if as_json:
            fields = {
                "prompt": text,
                "text": answer,
                "finish": completion.finish,
                "prompt_tokens": len(completion.request.prompt),
                "new_tokens": len(completion.ids),
            }
            print(json.dumps(fields, ensure_ascii=False))
        else:
            print(text + answer)
