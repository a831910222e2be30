"""`arctic ablate`."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.terminal.console import standard_output
from pipelines.cli.terminal.options import DEFAULT_STORE, Address, Overrides, Recipe, StoreFolder


def command(
    recipe: Recipe,
    phase: Annotated[int, typer.Option(help="Number of the phase whose mixture is searched, from 1.")],
    candidates: Annotated[int, typer.Option(help="Number of mixtures to try, including the recipe's own.")] = 16,
    aim: Annotated[
        list[str] | None,
        typer.Option(metavar="CORPUS", help="Corpus whose bits per byte are to fall; repeat it. Default: all corpora."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Random seed for drawing mixtures.")] = 0,
    out: Annotated[
        Path | None,
        typer.Option(help="File for the recipe with the best mixture. Default: beside the recipe, as *-best.toml."),
    ] = None,
    store: StoreFolder = DEFAULT_STORE,
    address: Address = None,
    overrides: Overrides = None,
) -> None:
    """Search the mixture of one phase with small runs side by side; make them small with --set."""
    from pipelines.ablate.stage import Ablation
    from pipelines.cli.terminal.live.view import view
    from pipelines.cli.terminal.summary import print_summary
    from pipelines.cli.terminal.tables.ablation import print_ablation
    from pipelines.graph.ablation import ablation_graph, write_best
    from pipelines.recipes import load_recipe
    from pipelines.session import run_graph

    console = standard_output()
    loaded = load_recipe(recipe, overrides or [])
    graph = ablation_graph(loaded.require_run(), loaded.corpora, recipe, phase, candidates, seed, aim or [])
    with view(console) as on_event:
        result = run_graph(graph, store, address, on_event)
    print_summary(result, console)
    if not result.ok:
        raise typer.Exit(1)
    folder = result.stages[f"ablate[{phase}]"].path
    best = out or recipe.with_name(f"{recipe.stem}-phase{phase}-best.toml")
    ablation = Ablation.read(folder)
    write_best(recipe, ablation, best)
    print_ablation(ablation, folder, best, console)
