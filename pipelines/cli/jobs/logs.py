"""`arctic logs`."""

from typing import Annotated

import typer

from pipelines.cli.terminal.options import Dashboard


def command(
    job: Annotated[str, typer.Argument(help="Job as `arctic jobs` lists it, or the end of its name.")],
    address: Dashboard,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the job ends; Ctrl-C leaves the job alone.")
    ] = False,
) -> None:
    """Print the log of a job. With --follow, the exit code is that of the job."""
    from infra.cluster import dashboard, jobs

    reached = dashboard.Dashboard.at(address)
    name = reached.job(job).name
    if not follow:
        print(reached.logs(name), end="")
        return
    raise typer.Exit(jobs.follow(reached, name, lambda _: "detach"))
