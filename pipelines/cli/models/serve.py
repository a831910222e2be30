"""`arctic serve`."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pipelines.cli.terminal.options import DEFAULT_STORE, Address, StoreFolder
from pipelines.cli.terminal.units import duration_text
from pipelines.cli.terminal.writing import CheckpointName, StreamSinks, StreamWindowSize, TokenizerFolder, WeightsDtype

if TYPE_CHECKING:
    from collections.abc import Callable

    from infra.context import Event

PRINT_S = 60.0


def command(
    checkpoint: CheckpointName,
    engine: Annotated[
        Literal["arctic", "vllm"], typer.Option(help="Engine: arctic, or vllm for an exported directory on GPUs.")
    ] = "arctic",
    host: Annotated[str, typer.Option(help="Address to listen on; others than loopback need a token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65_535, help="Port to listen on.")] = 8000,
    token: Annotated[
        str | None,
        typer.Option(envvar="ARCTIC_SERVE_TOKEN", help="Bearer token that requests must carry; set the variable."),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Model name in the API. Default: the name of the folder.")] = None,
    replicas: Annotated[int, typer.Option(help="Copies of the model that always run.")] = 1,
    max_replicas: Annotated[
        int | None, typer.Option(help="Maximum number of copies under load. Default: --replicas.")
    ] = None,
    max_batch: Annotated[int, typer.Option(help="Answers of one copy that grow side by side.")] = 16,
    max_queue: Annotated[int, typer.Option(help="Requests that wait per copy; more get status 429.")] = 64,
    max_model_len: Annotated[
        int | None, typer.Option(help="Maximum tokens of prompt and answer. Default: the model's positions.")
    ] = None,
    threads: Annotated[int, typer.Option(help="CPU threads of each copy.")] = 1,
    gpus: Annotated[float, typer.Option(help="GPUs of each copy; with one, it runs in bfloat16.")] = 0.0,
    dtype: WeightsDtype = "stored",
    drain: Annotated[float, typer.Option(help="Seconds that running answers have to end after SIGTERM.")] = 60.0,
    tensor_parallel: Annotated[int, typer.Option(help="With vllm: GPUs that share each layer.")] = 1,
    pipeline_parallel: Annotated[int, typer.Option(help="With vllm: groups of GPUs that share the layers.")] = 1,
    fp8: Annotated[bool, typer.Option("--fp8", help="With vllm: quantize the weights to FP8.")] = False,
    stream_window: StreamWindowSize = None,
    stream_sinks: StreamSinks = 4,
    tokenizer: TokenizerFolder = None,
    store: StoreFolder = DEFAULT_STORE,
    address: Address = None,
) -> None:
    """Serve a checkpoint over HTTP with OpenAI's API and a chat page, until Ctrl-C or SIGTERM."""
    from pipelines.graph.checkpoints import find_checkpoint
    from pipelines.serve.options import Scale, ServeOptions
    from pipelines.serve.server import Notices, serve_model

    resolved = find_checkpoint(checkpoint, store)
    folder = resolved.folder
    scale = Scale(host, port, replicas, max_replicas or replicas, drain)
    notices = Notices(_announce, _print_waits())
    if engine == "vllm":
        from pipelines.serve.vllm import VllmOptions, serve_with_vllm

        model_name = name or folder.name
        options = VllmOptions(folder, model_name, tensor_parallel, pipeline_parallel, fp8, max_model_len)
        serve_with_vllm(options, scale, token, address, notices)
        return
    served = ServeOptions(
        checkpoint=str(folder),
        model_name=name or _label(checkpoint, folder),
        tokenizer=_folder(tokenizer or resolved.tokenizer),
        token=token,
        max_batch=max_batch,
        max_queue=max_queue,
        max_model_len=max_model_len,
        num_threads=threads,
        num_gpus=gpus,
        dtype=dtype,
        stream_window=stream_window,
        stream_sinks=stream_sinks,
    )
    serve_model(served, scale, address, notices)


def _label(checkpoint: str, folder: Path) -> str:
    return checkpoint if checkpoint.endswith("]") else folder.name


def _folder(path: Path | None) -> str | None:
    return None if path is None else str(path.resolve())


def _announce(url: str) -> None:
    print(f"chat: {url}/   API: {url}/v1   (Ctrl-C stops it)", flush=True)


def _print_waits() -> "Callable[[Event], None]":
    """Prints the first wait for machines, and then one a minute."""
    printed_s = -math.inf

    def show(event: "Event") -> None:
        nonlocal printed_s
        if event["seconds"] - printed_s >= PRINT_S:
            printed_s = event["seconds"]
            print(f"waiting for {event['needs']}, {duration_text(printed_s)}   (Ctrl-C stops it)", flush=True)

    return show
