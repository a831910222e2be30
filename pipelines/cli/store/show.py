"""`arctic show`."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipelines.cli.terminal.console import plain_table, print_fields, print_text, standard_output
from pipelines.cli.terminal.options import DEFAULT_STORE, StoreFolder
from pipelines.cli.terminal.units import bytes_text

if TYPE_CHECKING:
    from infra.artifact import Artifact
    from infra.store import Store
    from pipelines.lineage.samples import Sample

Value = TypeVar("Value")


def command(
    what: Annotated[
        str, typer.Argument(help="stages, a stage id such as 'train[2]', samples, document, cluster, token, or lock.")
    ] = "stages",
    which: Annotated[
        str | None,
        typer.Argument(
            help="Id of the document or cluster, name of the token's corpus, a recipe, or an evaluated checkpoint."
        ),
    ] = None,
    detail: Annotated[
        str | None,
        typer.Argument(
            metavar="POSITION|TASK",
            help="With token: position in the corpus' packed training tokens. With samples: name of the task.",
        ),
    ] = None,
    wrong: Annotated[
        bool, typer.Option("--wrong", help="With samples: only items that were not answered right.")
    ] = False,
    store: StoreFolder = DEFAULT_STORE,
) -> None:
    """Show the contents of the store: all stages, one stage, the answers of a checkpoint, a document's path through the
    chain, a cluster of duplicates, the source of a token, or a recipe's lock."""
    if wrong and what != "samples":
        from pipelines.errors import OptionError

        raise OptionError(f"--wrong: it belongs to arctic show samples, not to {what}. Leave it out.")
    show(what, which, detail, store, standard_output(), wrong=wrong)


def show(
    what: str, which: str | None, detail: str | None, store: Path | str, console: Console, *, wrong: bool = False
) -> None:
    """Print all stages, one stage, samples of a task, one document, one cluster of duplicates, one token or a recipe's
    lock."""
    from pipelines.lineage.stages import committed, describe_stage, find_stage, require_store

    if what == "lock":
        _print_lock(Path(_required(which, "lock RECIPE")), console)
        return
    artifacts = committed(store)
    match what:
        case "stages":
            console.print(_stages(artifacts))
            _print_usage(require_store(store), console)
        case "document":
            _print_all(_documents(artifacts, _required(which, "document ID"), store), console)
        case "cluster":
            from infra.store import Store
            from pipelines.lineage.duplicates import describe_cluster

            print_text(console, describe_cluster(_required(which, "cluster ID"), Store(store)))
        case "samples":
            from pipelines.lineage.samples import samples_of

            usage = "samples CHECKPOINT TASK"
            items = samples_of(artifacts, _required(which, usage), _required(detail, usage), wrong=wrong)
            _print_samples(items, console)
        case "token":
            from pipelines.lineage.tokens import find_token

            usage = "token CORPUS POSITION"
            corpus, number = _required(which, usage), _position(_required(detail, usage))
            print_fields(console, find_token(artifacts, corpus, number).as_fields())
        case stage:
            _print_all([describe_stage(artifact) for artifact in find_stage(artifacts, stage, store)], console)


def _print_lock(recipe: Path, console: Console) -> None:
    from infra.host.masking import masked
    from pipelines.recipes import load_recipe

    print_text(console, masked(load_recipe(recipe).graph().lock.to_json()))


def _position(text: str) -> int:
    from pipelines.errors import OptionError

    if not text.isdecimal():
        raise OptionError(f"position {text!r}: not a whole number. Count tokens from 0.")
    return int(text)


def _print_samples(samples: "Sequence[Sample]", console: Console) -> None:
    for sample in samples:
        took = "" if sample.seconds is None else f" ({sample.seconds:,.2f} s)"
        print_text(console, f"== {sample.item_id}: {sample.verdict}{took}", "bold")
        print_text(console, sample.prompt)
        for response in sample.responses:
            print_text(console, f"-- {response}", "cyan")
        if sample.answer:
            print_text(console, f"-- judged: {sample.answer}", "cyan")
        print_text(console, f"-- gold: {sample.gold}\n", "green")
    print_text(console, f"items: {len(samples):,}")


def _required(value: Value | None, usage: str) -> Value:
    from pipelines.errors import OptionError

    if value is None:
        raise OptionError(f"an argument is missing; usage: arctic show {usage}")
    return value


def _stages(artifacts: "Sequence[Artifact]") -> Table:
    table = plain_table("stage", "key", "files", "bytes", "seconds", left=("stage", "key"))
    for artifact in artifacts:
        manifest = artifact.manifest
        size = sum(entry.bytes for entry in manifest.files)
        counts = (str(len(manifest.files)), f"{size:,}", f"{manifest.seconds:.1f}")
        table.add_row(escape(manifest.id), manifest.key, *counts)
    return table


def _print_usage(store: "Store", console: Console) -> None:
    """The space that each part of the store takes, a blank line above."""
    from infra.housekeeping.usage import usage

    table = plain_table("part", "number", "size")
    for each in usage(store):
        table.add_row(each.part, f"{each.number:,}", bytes_text(each.bytes))
    console.print()
    console.print(table)


def _documents(artifacts: "Sequence[Artifact]", doc_id: str, store: Path | str) -> list[dict[str, Any]]:
    """All metadata of a document, once for each build of its corpus that has it."""
    from pipelines.errors import NotInStoreError
    from pipelines.lineage.documents import describe, find_document

    locations = find_document(artifacts, doc_id)
    if not locations:
        raise NotInStoreError(
            f"store {store}: no document {doc_id!r}. Ids are 32 hex digits, as in the doc_id column of source."
        )
    return [describe(location, doc_id, artifacts) for location in locations]


def _print_all(descriptions: Iterable[Mapping[str, Any]], console: Console) -> None:
    for fields in descriptions:
        print_fields(console, fields)
        console.print()
