"""`arctic replay`."""

import typer

from pipelines.cli.terminal.console import print_text, standard_output
from pipelines.cli.terminal.options import DEFAULT_STORE, Address, Overrides, Recipe, StoreFolder, Until


def command(
    recipe: Recipe,
    store: StoreFolder = DEFAULT_STORE,
    address: Address = None,
    overrides: Overrides = None,
    until: Until = None,
) -> None:
    """Build a recipe again in a fresh store and compare every file with the committed one, byte for byte."""
    from pipelines.cli.terminal.live.view import view
    from pipelines.recipes import load_recipe
    from pipelines.replay import replay

    console = standard_output()
    with view(console) as on_event:
        compared = replay(load_recipe(recipe, overrides or []), store, address, on_event, until=until)
    for each in compared:
        print_text(console, f"{'same  ' if each.is_same else 'DIFFERS'} {each.stage}: {each.verdict}")
    same = sum(each.is_same for each in compared)
    console.print(f"\n{same} of {len(compared)} stages replayed the same.")
    raise typer.Exit(0 if same == len(compared) else 1)
