"""`arctic chat`."""

import sys
from typing import TYPE_CHECKING, Annotated

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
    stopped_by_ctrl_c,
    writing_options,
)

if TYPE_CHECKING:
    from pipelines.models.writing import Conversation

NEW, QUIT = "/new", "/quit"


def command(
    checkpoint: CheckpointName,
    system: Annotated[str | None, typer.Option(help="System message before the first turn.")] = None,
    max_new_tokens: MaxNewTokens = None,
    temperature: Temperature = 0.7,
    top_p: TopP = 0.95,
    top_k: TopK = 0,
    min_p: MinP = 0.0,
    seed: Seed = 0,
    stop: Stop = None,
    dtype: WeightsDtype = "stored",
    stream_window: StreamWindowSize = None,
    stream_sinks: StreamSinks = 4,
    tokenizer: TokenizerFolder = None,
    store: StoreFolder = DEFAULT_STORE,
) -> None:
    """Chat with a checkpoint: one message per line. Ctrl-C stops an answer, /new starts over, /quit or Ctrl-D ends."""
    from pipelines.errors import OptionError
    from pipelines.models.writing import Conversation

    options = writing_options(max_new_tokens, temperature, top_p, top_k, min_p, seed, stop)
    model = load_named_model(checkpoint, tokenizer, store, dtype, stream_window, stream_sinks)
    if model.codec.template is None:
        raise OptionError(f"{checkpoint}: its tokenizer has no chat template. Use arctic generate.")
    beginning = [{"role": "system", "content": system}] if system else []
    conversation = Conversation(model, options, list(beginning))
    while (text := _read()) not in (None, QUIT):
        if text == NEW:
            conversation = Conversation(model, options, list(beginning))
        elif text:
            _answer(conversation, text)


def _read() -> str | None:
    """The next message, or None at the end."""
    try:
        return input("> " if sys.stdin.isatty() else "").strip()
    except (EOFError, KeyboardInterrupt):
        return None


def _answer(conversation: "Conversation", text: str) -> None:
    from arctic_model.inference.sampling import GenerationError

    with stopped_by_ctrl_c() as stopped:
        try:
            for piece in conversation.answer(text, stopped.is_set):
                print(piece, end="", flush=True)
        except GenerationError as error:
            print(f"error: {error} {NEW} starts over.", end="", file=sys.stderr)
    print(" [stopped]" if stopped.is_set() else "", flush=True)
