"""Options and arguments that several commands take."""

from pathlib import Path
from typing import Annotated

import typer

DEFAULT_STORE = "store"
Recipe = Annotated[Path, typer.Argument(help="Run or corpus recipe (.toml), or a lock that a run wrote (.json).")]
StoreFolder = Annotated[
    str,
    typer.Option(
        "--store",
        envvar="ARCTIC_STORE",
        help="Folder of results, MLflow data and event logs, or an address of results such as s3://bucket/prefix.",
    ),
]
Address = Annotated[
    str | None,
    typer.Option(help="Ray cluster, such as auto or ray://host:10001. Default: RAY_ADDRESS, else this machine."),
]
Dashboard = Annotated[
    str,
    typer.Option(
        "--address", envvar="ARCTIC_DASHBOARD", help="Dashboard of the Ray head, such as http://127.0.0.1:8265."
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Replace a field: --set train.peak_lr=0.002, --set corpora.web.filter.min_words=20",
    ),
]
Until = Annotated[
    str | None, typer.Option(help="Stop after the stages whose name or id matches, such as mix or 'train[1]'.")
]
MaxHours = Annotated[
    float | None, typer.Option(min=0, help="Stop at the next commit after so many hours, with exit code 3.")
]
MaxCost = Annotated[
    float | None,
    typer.Option(min=0, help="Stop at the next commit at this cost, by train.price_per_worker_hour, with exit code 3."),
]
Only = Annotated[
    str | None, typer.Option(help="Build only stages whose name or id matches, such as 'evaluate*' or 'train[2]'.")
]
