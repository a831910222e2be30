"""The command line: one file per command, by subject. Commands parse and print; everything below returns values.

A command imports heavy libraries when it runs, so that `arctic --help` answers at once.
"""

import contextlib
import functools
import gc
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

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


READER_GONE = 141
"""Exit code if nobody reads the output any more: 128 and the number of SIGPIPE, as a shell reports for other tools."""
_TEXTS_OF_PATHS = ("store", "checkpoint")
"""Parameters that are a path or something else, such as an address."""


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


def _with_home(command: Callable[..., None]) -> Callable[..., None]:
    """The command with `~` in its paths expanded: shells leave it in `--store=~/x`, and nobody expands variables."""

    @functools.wraps(command)
    def expanding(**values: Any) -> None:
        command(**{name: _expanded(name, value) for name, value in values.items()})

    return expanding


def _expanded(name: str, value: Any) -> Any:
    if isinstance(value, list):
        return [_expanded(name, item) for item in value]
    is_text = isinstance(value, str) and name in _TEXTS_OF_PATHS and "://" not in value
    # A path of a user that nobody knows stays, and its command refuses it.
    with contextlib.suppress(RuntimeError):
        if is_text or isinstance(value, Path):
            return type(value)(Path(value).expanduser())
    return value


for name, command in COMMANDS.items():
    app.command(name)(command)
app.add_typer(eval_data.app, name="eval-data")
for each in (*app.registered_commands, *eval_data.app.registered_commands):
    assert each.callback
    each.callback = _with_home(each.callback)


def main() -> None:
    """Entry point: a UserError becomes one message and exit code 2, without a traceback; a reader of the output that is
    gone, exit code READER_GONE."""
    from infra.host.surroundings import prepare

    output = sys.stdout
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
        _require_reader(output)
        # Python looks through all objects at its end, which takes a second if torch is loaded. Triton reports its own
        # objects as leaks if they are left out.
        if "triton" not in sys.modules:
            gc.freeze()


def _require_reader(output: Any) -> None:
    """Exit if the reader of standard output is gone, which Typer replaces when it notices."""
    try:
        output.flush()
        is_read = sys.stdout is output
    except BrokenPipeError:
        is_read = False
    if not is_read:
        os.dup2(os.open(os.devnull, os.O_WRONLY), output.fileno())
        sys.exit(READER_GONE)
