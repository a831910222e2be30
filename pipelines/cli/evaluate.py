"""`arctic evaluate`."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.terminal.console import standard_output
from pipelines.cli.terminal.options import DEFAULT_STORE, Address, StoreFolder


def command(
    checkpoint: Annotated[
        Path, typer.Argument(help="Folder of a checkpoint: Arctic's own, a train stage's result, or Hugging Face's.")
    ],
    suite: Annotated[
        list[str] | None, typer.Option(help="Suite (enterprise, academic, smoke) or task such as spider; repeatable.")
    ] = None,
    chat: Annotated[
        str,
        typer.Option(
            help="Ask in the chat template: never, always, or auto (checkpoints fine-tuned in it, and Hugging Face "
            "models whose tokenizer has one)."
        ),
    ] = "auto",
    root: Annotated[
        Path, typer.Option(envvar="ARCTIC_EVAL_DATA", help="Folder of the evaluation data; see arctic eval-data fetch.")
    ] = Path("eval_data"),
    limit: Annotated[
        int | None, typer.Option(help="Maximum number of items per task. Default: all, or 32 in the suite smoke.")
    ] = None,
    against: Annotated[Path | None, typer.Option(help="Folder of another checkpoint to compare with per item.")] = None,
    tokenizer: Annotated[
        Path | None,
        typer.Option(help="Folder of CHECKPOINT's tokenizer. Default: its own, or the one it was trained with."),
    ] = None,
    against_tokenizer: Annotated[
        Path | None, typer.Option(help="Folder of the tokenizer of --against. Default: as for --tokenizer.")
    ] = None,
    actors: Annotated[int, typer.Option(help="Number of model copies that answer side by side.")] = 1,
    gpus_per_actor: Annotated[
        float, typer.Option(help="GPUs per model copy; with one, it answers in bfloat16 and in batches.")
    ] = 0.0,
    unsafe: Annotated[
        str, typer.Option(help="'i accept unsafe execution': run answers on a machine that cannot confine them.")
    ] = "",
    store: StoreFolder = DEFAULT_STORE,
    address: Address = None,
) -> None:
    """Score a checkpoint on tasks and suites. Run it again after a kill to continue with the next batch."""
    from pipelines.cli.terminal.live import view
    from pipelines.cli.terminal.scores import print_scores
    from pipelines.cli.terminal.summary import print_summary
    from pipelines.graph.evaluation import EvaluationOptions, evaluation_graph
    from pipelines.session import run_graph

    options = EvaluationOptions(
        checkpoint=checkpoint,
        suite=tuple(suite or ["smoke"]),
        root=root,
        limit=limit,
        against=against,
        tokenizer=tokenizer,
        actors=actors,
        gpus_per_actor=gpus_per_actor,
        unsafe=unsafe,
        against_tokenizer=against_tokenizer,
        chat=chat,
    )
    console = standard_output()
    graph = evaluation_graph(options)
    with view(console) as on_event:
        result = run_graph(graph, store, address, on_event)
    print_summary(result, console)
    if not result.ok:
        raise typer.Exit(1)
    print_scores(list(result.stages.values())[-1].path, console)
