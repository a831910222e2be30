"""Options of the commands that write text, and the model that they load."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from pipelines.models.text_model import TextModel
    from pipelines.models.writing import WritingOptions

CheckpointName = Annotated[
    str,
    typer.Argument(
        metavar="CHECKPOINT", help="Folder of a checkpoint, an exported directory, or a stage id such as 'train[3]'."
    ),
]
TokenizerFolder = Annotated[
    Path | None, typer.Option("--tokenizer", help="Folder of the tokenizer. Default: the checkpoint's own.")
]
WeightsDtype = Annotated[
    Literal["stored", "float32", "bfloat16"],
    typer.Option("--dtype", help="Data type of the weights on a CPU; stored keeps that of the checkpoint."),
]
MaxNewTokens = Annotated[int | None, typer.Option(help="Maximum number of tokens of an answer.")]
Temperature = Annotated[float, typer.Option(help="Randomness: 0 takes the likeliest token, 1 the model's own odds.")]
TopP = Annotated[float, typer.Option(help="Sample among the likeliest tokens that have this probability together.")]
TopK = Annotated[int, typer.Option(help="Sample among this many of the likeliest tokens; 0 for all.")]
MinP = Annotated[float, typer.Option(help="Sample among tokens at least this share as probable as the likeliest.")]
Seed = Annotated[int, typer.Option(help="Seed of the samples; the same seed gives the same text.")]
StreamWindowSize = Annotated[
    int | None,
    typer.Option(
        "--stream-window",
        help="Write without end: each token sees this many newest tokens and the first ones. Default: all tokens.",
    ),
]
StreamSinks = Annotated[int, typer.Option("--stream-sinks", help="With --stream-window: first tokens that stay.")]
Stop = Annotated[list[str] | None, typer.Option(help="Text that ends an answer; repeatable.")]


def writing_options(
    max_new_tokens: int | None,
    temperature: float,
    top_p: float,
    top_k: int,
    min_p: float,
    seed: int,
    stop: list[str] | None,
) -> "WritingOptions":
    """The options of an answer. Raises GenerationError for a number out of its range."""
    from arctic_model.inference.sampling import Sampling
    from pipelines.models.writing import WritingOptions

    sampling = Sampling(temperature, top_p, top_k, min_p, str(seed))
    return WritingOptions(max_new_tokens, sampling, tuple(stop or ()))


def load_named_model(
    checkpoint: str, tokenizer: Path | None, store: str, dtype: str, window: int | None = None, sinks: int = 4
) -> "TextModel":
    """The model of a folder or of a stage in a store; with a `window` and `sinks` its texts have no end. Raises
    OptionError if it cannot be read."""
    from arctic_model.checkpoint.errors import CheckpointError
    from arctic_model.inference.streaming import StreamWindow
    from pipelines.errors import OptionError
    from pipelines.graph.checkpoints import find_checkpoint
    from pipelines.models.loading import load_model
    from pipelines.models.source import ModelSource

    resolved = find_checkpoint(checkpoint, store)
    try:
        stream = StreamWindow(window, sinks) if window is not None else None
        return load_model(ModelSource.here(resolved.folder, tokenizer or resolved.tokenizer, dtype), stream)
    except (CheckpointError, ValueError, OSError) as error:
        raise OptionError(str(error)) from error


@contextmanager
def stopped_by_ctrl_c() -> Iterator[threading.Event]:
    """An event that Ctrl-C sets, instead of ending the program."""
    stopped = threading.Event()
    before = signal.signal(signal.SIGINT, lambda *_: stopped.set())
    try:
        yield stopped
    finally:
        signal.signal(signal.SIGINT, before)
