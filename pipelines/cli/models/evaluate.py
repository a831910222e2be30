"""`arctic evaluate`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from pipelines.cli.terminal.console import print_text, standard_output
from pipelines.cli.terminal.options import DEFAULT_STORE, Address, StoreFolder


def command(
    checkpoints: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="CHECKPOINT...",
            help="Folders of checkpoints: Arctic's own, results of train stages, or Hugging Face's; or a store, for "
            "the checkpoints of its latest run.",
        ),
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            help="A model of another engine: openai:http://HOST:PORT/v1 (or ...#MODEL) behind a server, or vllm:FOLDER."
        ),
    ] = "",
    phase: Annotated[
        int | None, typer.Option(help="With a store: only the checkpoints of this phase, also while it trains.")
    ] = None,
    suite: Annotated[
        list[str] | None,
        typer.Option(
            help="Suite (enterprise, academic, long_context, smoke), task such as spider, lm_eval:NAME, or "
            "module:Class; repeatable. Default: smoke, or with --rescore the tasks that were asked."
        ),
    ] = None,
    chat: Annotated[
        str,
        typer.Option(
            help="Ask in the chat template: never, always, or auto (checkpoints fine-tuned in it, and Hugging Face "
            "models whose tokenizer has one)."
        ),
    ] = "auto",
    system: Annotated[
        str, typer.Option(help="System prompt before everything that is asked in the chat template.")
    ] = "",
    rescore: Annotated[
        bool,
        typer.Option(
            "--rescore",
            help="Judge stored answers again, without a model. CHECKPOINT: a folder of stages/evaluate.",
        ),
    ] = False,
    num_fewshot: Annotated[
        int | None,
        typer.Option(help="Examples before each question of lm_eval:NAME tasks. Default: their pages' own."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the draw of examples of lm_eval:NAME tasks.")] = 1234,
    include: Annotated[
        Path | None, typer.Option(help="Folder with YAML pages of your own for lm_eval:NAME tasks.")
    ] = None,
    root: Annotated[
        Path, typer.Option(envvar="ARCTIC_EVAL_DATA", help="Folder of the evaluation data; see arctic eval-data fetch.")
    ] = Path("eval_data"),
    limit: Annotated[
        int | None,
        typer.Option(
            help="Maximum number of items per task. Default: all, 32 in the suite smoke, or as many as --rescore finds."
        ),
    ] = None,
    against: Annotated[Path | None, typer.Option(help="Folder of another checkpoint to compare with per item.")] = None,
    tokenizer: Annotated[
        Path | None,
        typer.Option(help="Folder of the tokenizer. Default: a checkpoint's own, or the one it was trained with."),
    ] = None,
    against_tokenizer: Annotated[
        Path | None, typer.Option(help="Folder of the tokenizer of --against. Default: as for --tokenizer.")
    ] = None,
    actors: Annotated[int, typer.Option(help="Number of model copies that answer side by side.")] = 1,
    threads: Annotated[int, typer.Option(help="CPU threads of each copy; each answers other questions.")] = 1,
    ep: Annotated[
        int, typer.Option(help="Processes that share the experts of one model copy, if it is too large for one.")
    ] = 1,
    gpus_per_actor: Annotated[
        float, typer.Option(help="GPUs per process of a model copy; with one, it answers in bfloat16 and in batches.")
    ] = 0.0,
    dtype: Annotated[
        Literal["float32", "stored"],
        typer.Option(help="Of the weights on a CPU; stored: bfloat16 stays bfloat16, in half the memory."),
    ] = "float32",
    unsafe: Annotated[
        str, typer.Option(help="'i accept unsafe execution': run answers on a machine that cannot confine them.")
    ] = "",
    numpy: Annotated[
        bool, typer.Option("--numpy", help="Let programs for HumanEval+ and MBPP+ import numpy, as EvalPlus does.")
    ] = False,
    store: StoreFolder = DEFAULT_STORE,
    address: Address = None,
) -> None:
    """Score checkpoints on tasks and suites, and compare them. Run it again after a kill to continue with the next
    batch."""
    from pipelines.cli.terminal.live.view import view
    from pipelines.cli.terminal.summary import print_summary
    from pipelines.cli.terminal.tables.scores import print_comparison, print_scores
    from pipelines.graph.evaluation import EvaluationOptions, evaluation_graph, missing_data
    from pipelines.session import run_graph

    options = EvaluationOptions(
        checkpoints=tuple(checkpoints or ()),
        suite=tuple(suite or ()),
        root=root,
        limit=limit,
        against=against,
        tokenizer=tokenizer,
        actors=actors,
        threads=threads,
        expert_parallel_size=ep,
        gpus_per_actor=gpus_per_actor,
        dtype=dtype,
        unsafe=unsafe,
        numpy=numpy,
        against_tokenizer=against_tokenizer,
        chat=chat,
        system=system,
        phase=phase,
        rescore=rescore,
        model=model,
        num_fewshot=num_fewshot,
        seed=seed,
        include=include,
    )
    console = standard_output()
    graph = evaluation_graph(options)
    if lacking := missing_data(options):
        print_text(console, f"NOT MEASURED without their data. {lacking}", "yellow")
    with view(console) as on_event:
        result = run_graph(graph, store, address, on_event)
    print_summary(result, console)
    if not result.ok:
        raise typer.Exit(1)
    evaluations = {each.stage.subject: each.path for each in result.stages.values() if each.stage.name == "evaluate"}
    if len(evaluations) - bool(against) == 1:
        print_scores(list(evaluations.values())[-1], console)
    else:
        print_comparison(result.stages["compare"].path, evaluations, console)
    print_text(console, f"Page: {result.stages['evaluation_page'].path / 'report.html'}")
