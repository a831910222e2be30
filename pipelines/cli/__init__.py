"""The command line: one file per command, by subject. Commands parse and print; everything below returns values.

A command imports heavy libraries when it runs, so that `arctic --help` answers at once.
"""

import gc
import sys
from collections.abc import Callable
from typing import Annotated

import typer

from arctic_errors import UserError
from pipelines.cli import compile, doctor
from pipelines.cli.data import export_tokens, train_quality
from pipelines.cli.jobs import jobs, logs, stop, submit
from pipelines.cli.models import chat, eval_data, evaluate, export, generate, serve
from pipelines.cli.recipes import ablate, init, plan, replay, run, size
from pipelines.cli.store import export_run, import_run, prune, report, runs, show, ui, verify

app = typer.Typer(
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
COMMANDS: dict[str, Callable[..., None]] = {
    "init": init.command,
    "plan": plan.command,
    "run": run.command,
    "replay": replay.command,
    "ablate": ablate.command,
    "evaluate": evaluate.command,
    "export": export.command,
    "generate": generate.command,
    "chat": chat.command,
    "serve": serve.command,
    "size": size.command,
    "runs": runs.command,
    "report": report.command,
    "show": show.command,
    "verify": verify.command,
    "prune": prune.command,
    "export-run": export_run.command,
    "import-run": import_run.command,
    "export-tokens": export_tokens.command,
    "train-quality": train_quality.command,
    "submit": submit.command,
    "jobs": jobs.command,
    "logs": logs.command,
    "stop": stop.command,
    "ui": ui.command,
    "compile": compile.command,
    "doctor": doctor.command,
}


def _print_version(is_asked: bool) -> None:
    if is_asked:
        from infra.host.versions import version

        print(f"arctic {version('arctic-pretraining')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version and exit.")
    ] = False,
) -> None:
    """Train an Arctic model from web data: one durable chain of stages on Ray, tracked in MLflow."""


for name, command in COMMANDS.items():
    app.command(name)(command)
app.add_typer(eval_data.app, name="eval-data")


def main() -> None:
    """Entry point: a UserError becomes one message and exit code 2, without a traceback."""
    from infra.host.surroundings import prepare

    try:
        if sys.argv[1:2] != ["doctor"]:
            # Doctor lists missing packages with its other checks.
            prepare()
        app()
    except UserError as error:
        from infra.host.masking import masked

        print(f"error: {masked(str(error))}", file=sys.stderr)
        sys.exit(2)
    finally:
        # Python looks through all objects at its end, which takes a second if torch is loaded. Triton reports its own
        # objects as leaks if they are left out.
        if "triton" not in sys.modules:
            gc.freeze()
