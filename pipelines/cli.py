"""The commands: plan, run, replay, ablate, evaluate, eval-data, size, show, export-tokens, train-quality, submit, ui,
doctor.

Heavy libraries are imported by the command that needs them, so that help and plan answer at once.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from arctic_errors import UserError

app = typer.Typer(
    help="Web data to an evaluated Arctic model: one durable chain on Ray, followed in MLflow.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

eval_data = typer.Typer(help="Evaluation data: what tasks read.", no_args_is_help=True)
app.add_typer(eval_data, name="eval-data")


@eval_data.callback()
def _eval_data() -> None:
    """Keeps `fetch` a command of its own name: with one command typer would leave the name out."""


Recipe = Annotated[Path, typer.Argument(help="A run or corpus recipe (.toml), or a lock that a run wrote (.json).")]
StoreFolder = Annotated[
    Path,
    typer.Option("--store", envvar="ARCTIC_STORE", help="Folder of committed results, MLflow data and event logs."),
]
Address = Annotated[
    str | None,
    typer.Option(help="Ray cluster to use, such as auto or ray://host:10001. Default: RAY_ADDRESS, else this machine."),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Replace a field, value in TOML: --set train.peak_lr=0.002"),
]
Until = Annotated[
    str | None, typer.Option(help="Stop after the stages whose name or id fits, such as mix or 'train[1]'.")
]
Only = Annotated[
    str | None, typer.Option(help="Build only stages whose name or id fits, such as 'evaluate*' or 'train[2]'.")
]
DEFAULT_STORE = Path("store")


@app.command()
def plan(
    recipe: Recipe,
    store: StoreFolder = DEFAULT_STORE,
    overrides: Overrides = None,
    until: Until = None,
    only: Only = None,
    mix: Annotated[bool, typer.Option("--mix", help="Simulate the curriculum of a run instead.")] = False,
    assume: Annotated[
        list[str] | None,
        typer.Option(metavar="CORPUS=TOKENS", help="With --mix: size of a corpus that is not built: web=2e12"),
    ] = None,
) -> None:
    """Say what a run would reuse or build, and why, or what its phases would read. Starts nothing."""
    from infra.plan import missing_packages
    from pipelines import commands, console

    terminal = _terminal()
    if mix:
        commands.plan_mix(recipe, store, overrides or [], assume or [], terminal)
        return
    planned = commands.plan_run(recipe, store, overrides or [], until, only).planned
    terminal.print(console.plan_table(planned))
    building = sum(step.action == "build" for step in planned)
    terminal.print(
        f"\n{len(planned)} stages: {len(planned) - building} to reuse, {building} to build.", highlight=False
    )
    for line in missing_packages(planned):
        terminal.print(f"MISSING PACKAGE {line}", style="yellow", markup=False, soft_wrap=True)


@app.command()
def run(
    recipe: Recipe,
    store: StoreFolder = DEFAULT_STORE,
    address: Address = None,
    overrides: Overrides = None,
    until: Until = None,
    only: Only = None,
    profile: Annotated[
        str | None,
        typer.Option(metavar="steps=FIRST:LAST", help="Write a profiler's trace of these training steps: steps=10:13"),
    ] = None,
) -> None:
    """Run a recipe. Running it again goes on where it stopped; what is committed is reused."""
    from pipelines import commands

    replaced = [*(overrides or []), *commands.profiling(profile)]
    ok = commands.run_recipe(recipe, store, address, replaced, until, only, _terminal())
    raise typer.Exit(0 if ok else 1)


@app.command()
def replay(
    recipe: Recipe,
    store: StoreFolder = DEFAULT_STORE,
    address: Address = None,
    overrides: Overrides = None,
    until: Until = None,
) -> None:
    """Build a recipe again in a fresh store and compare every file with the committed one, byte for byte."""
    from pipelines import commands

    same = commands.replay_recipe(recipe, store, address, overrides or [], until, _terminal())
    raise typer.Exit(0 if same else 1)


@app.command()
def ablate(
    recipe: Recipe,
    phase: Annotated[int, typer.Option(help="Phase whose mixture is searched, from 1.")],
    candidates: Annotated[int, typer.Option(help="Mixtures to try, the recipe's own among them.")] = 16,
    seed: Annotated[int, typer.Option(help="Of the drawn mixtures.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Where the recipe with the best mixture is written.")] = None,
    store: StoreFolder = DEFAULT_STORE,
    address: Address = None,
    overrides: Overrides = None,
) -> None:
    """Search the mixture of one phase with small runs side by side; --set makes them small."""
    from pipelines import commands

    ok = commands.ablate_recipe(recipe, store, address, overrides or [], phase, candidates, seed, out, _terminal())
    raise typer.Exit(0 if ok else 1)


@app.command()
def evaluate(
    checkpoint: Annotated[
        Path, typer.Argument(help="Folder of a checkpoint: of ours, of a train stage, or a Hugging Face model.")
    ],
    suite: Annotated[
        list[str] | None, typer.Option(help="enterprise, academic, smoke, or a task such as spider; may be repeated.")
    ] = None,
    root: Annotated[
        Path, typer.Option(envvar="ARCTIC_EVAL_DATA", help="Folder of the evaluation data: arctic eval-data fetch.")
    ] = Path("eval_data"),
    limit: Annotated[
        int | None, typer.Option(help="At most so many items of each task. Default: all, smoke 32.")
    ] = None,
    against: Annotated[Path | None, typer.Option(help="Another checkpoint to compare with, item by item.")] = None,
    tokenizer: Annotated[
        Path | None,
        typer.Option(help="Folder of CHECKPOINT's tokenizer. Default: its own, or the one it was made with."),
    ] = None,
    against_tokenizer: Annotated[
        Path | None, typer.Option(help="Folder of the tokenizer of --against. Default: as for --tokenizer.")
    ] = None,
    actors: Annotated[int, typer.Option(help="Copies of the model that answer side by side.")] = 1,
    gpus_per_actor: Annotated[float, typer.Option(help="With one, bfloat16 and several items in a pass.")] = 0.0,
    unsafe: Annotated[
        str, typer.Option(help="'i accept unsafe execution': run answers on a machine that cannot confine them.")
    ] = "",
    store: StoreFolder = DEFAULT_STORE,
    address: Address = None,
) -> None:
    """Score a checkpoint on tasks and suites. Run again after a kill, it goes on with the next batch."""
    from pipelines.evaluation import Order, evaluate_checkpoint

    names = tuple(suite or ["smoke"])
    order = Order(checkpoint, names, root, limit, against, tokenizer, actors, gpus_per_actor, unsafe, against_tokenizer)
    raise typer.Exit(0 if evaluate_checkpoint(order, store, address, _terminal()) else 1)


@eval_data.command()
def fetch(
    files: Annotated[list[str] | None, typer.Argument(help="Files of the data root. Default: all.")] = None,
    root: Annotated[Path, typer.Option(envvar="ARCTIC_EVAL_DATA", help="Where to.")] = Path("eval_data"),
) -> None:
    """Bring evaluation data from its public sources; each file must say what was pinned."""
    from pipelines.evaluation import fetch_data

    fetch_data(files or [], root, _terminal())


@app.command()
def size(
    recipe: Annotated[Path, typer.Argument(help="A run recipe (.toml), or a preset such as arctic-480b.")],
    gpu: Annotated[str, typer.Option(help="a100, h100, h200 or b200.")] = "h100",
    gpus: Annotated[int | None, typer.Option(help="Workers, one GPU each. Default: as the recipe says.")] = None,
    ep: Annotated[int | None, typer.Option(help="Workers that share the experts. Default: as the recipe says.")] = None,
    micro_batch: Annotated[int | None, typer.Option(help="Sequences per worker and forward pass.")] = None,
    mfu: Annotated[float, typer.Option(help="Share of the peak that computation reaches while it runs.")] = 0.4,
    price: Annotated[float | None, typer.Option(help="Of one GPU for an hour.")] = None,
    checkpoint_layers: Annotated[
        bool, typer.Option("--checkpoint-layers", help="Keep each layer's input only and compute the layer again.")
    ] = False,
    overrides: Overrides = None,
) -> None:
    """Say what a run would need: memory per GPU by part, traffic, step time, days and cost. Starts nothing."""
    from pipelines.size import Order, print_size

    order = Order(gpu, gpus, ep, micro_batch, mfu, price, checkpoint_layers)
    print_size(recipe, overrides or [], order, _terminal())


@app.command()
def show(
    what: Annotated[
        str, typer.Argument(help="stages, a stage id such as 'train[2]', document, cluster, token, or lock.")
    ] = "stages",
    which: Annotated[
        str | None, typer.Argument(help="Of document and cluster the id, of token the corpus, of lock a recipe.")
    ] = None,
    position: Annotated[
        int | None, typer.Argument(help="With token: its place in the corpus' packed training tokens.")
    ] = None,
    store: StoreFolder = DEFAULT_STORE,
) -> None:
    """Show what the store holds: all stages, one stage, a document's way through the chain, a cluster of duplicates,
    where a token came from, or a recipe's lock."""
    from pipelines.show import show as show_from

    show_from(what, which, position, store, _terminal())


@app.command()
def export_tokens(
    corpus: Annotated[str, typer.Argument(help="Name of a corpus, or the key of one of its tokenize results.")],
    out: Annotated[Path, typer.Argument(help="Where to, without suffix.")],
    form: Annotated[str, typer.Option("--format", help="megatron, datatrove, olmo or npy.")] = "megatron",
    split: Annotated[str, typer.Option(help="train or heldout.")] = "train",
    store: StoreFolder = DEFAULT_STORE,
) -> None:
    """Write a corpus' tokens in the form that another trainer reads."""
    from pipelines import commands

    commands.export_corpus(corpus, out, form, split, store, _terminal())


@app.command()
def train_quality(
    good: Annotated[str, typer.Argument(help="Corpus whose documents are as wished.")],
    bad: Annotated[str, typer.Argument(help="Corpus whose documents are not.")],
    out: Annotated[Path, typer.Argument(help="The model, a .safetensors file.")],
    max_documents: Annotated[int, typer.Option(help="Of each corpus.")] = 20_000,
    store: StoreFolder = DEFAULT_STORE,
) -> None:
    """Train a quality model for [score] on the kept documents of two corpora in the store."""
    from infra.store import Store
    from pipelines.quality import train_quality as train

    train(Store(store), good, bad, out, max_documents, _terminal())


@app.command()
def submit(
    recipe: Recipe,
    address: Annotated[str, typer.Option(help="Dashboard of the cluster's head, such as http://127.0.0.1:8265.")],
    store: Annotated[
        Path, typer.Option("--store", envvar="ARCTIC_STORE", help="Folder that every node of the cluster reaches.")
    ] = DEFAULT_STORE,
    overrides: Overrides = None,
    until: Until = None,
    only: Only = None,
    python: Annotated[
        str | None,
        typer.Option(help="Interpreter on the cluster. Default: this one for a head on this machine, else python."),
    ] = None,
) -> None:
    """Send the same run to a Ray cluster as a job and follow its log. The exit code is the job's."""
    from infra.cluster.jobs import submit as submit_job
    from pipelines.submission import needed_files

    arguments = ["run", _relative(recipe), "--store", str(store.resolve()), "--address", "auto"]
    for override in overrides or []:
        arguments += ["--set", override]
    arguments += ["--until", until] if until else []
    arguments += ["--only", only] if only else []
    needed = needed_files(recipe, overrides or [], Path.cwd())
    command = ["-m", "pipelines.cli", *arguments]
    raise typer.Exit(submit_job(address, command, Path.cwd(), needed=needed, python=python))


@app.command()
def ui(
    store: StoreFolder = DEFAULT_STORE,
    port: Annotated[int, typer.Option(help="Port on this machine's loopback interface.")] = 5000,
) -> None:
    """Open MLflow on this store: serves on loopback until Ctrl-C and prints the link to the runs."""
    from infra.tracking import serve

    serve(store.resolve(), port)


@app.command()
def doctor(store: StoreFolder = DEFAULT_STORE, address: Address = None) -> None:
    """Check this machine, the store and the cluster's safety; exit code 1 where something must be mended."""
    from infra.host.doctor import checks
    from infra.host.environment import Upload
    from pipelines.submission import measured_upload

    terminal = _terminal()
    found = checks(store.resolve(), address, Upload(*measured_upload(Path.cwd())))
    for check in found:
        mark = "[green]ok  [/]" if check.ok else "[red]BAD [/]"
        terminal.print(f"{mark} {check.name}: ", end="")
        terminal.print(
            check.message if check.ok else f"{check.message.rstrip('.')}. {check.mend}".rstrip(),
            markup=False,
            highlight=False,
        )
    raise typer.Exit(0 if all(check.ok for check in found) else 1)


def _relative(recipe: Path) -> str:
    """The recipe inside the working folder, which travels with a job."""
    from data_recipes import RecipeError

    inside = recipe.resolve()
    if not inside.is_relative_to(Path.cwd()):
        raise RecipeError(
            f"{recipe}: not inside {Path.cwd()}, the folder sent with the job. Run submit from its folder."
        )
    return inside.relative_to(Path.cwd()).as_posix()


def _terminal() -> Console:
    # A file or pipe has no width: reasons stand on one line there, for people who search them.
    return Console(highlight=False, width=None if sys.stdout.isatty() else 240)


def main() -> None:
    """Entry point: a UserError becomes one message and exit code 2, without a traceback."""
    from infra.host.surroundings import prepare

    try:
        if sys.argv[1:2] != ["doctor"]:
            # Doctor shows what is lacking beside its other checks.
            prepare()
        app()
    except UserError as error:
        from infra.host.masking import masked

        print(f"error: {masked(str(error))}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
