"""`arctic stop`."""

from typing import Annotated

import typer

from pipelines.cli.terminal.options import Dashboard


def command(
    job: Annotated[str, typer.Argument(help="Job as `arctic jobs` lists it, or the end of its name.")],
    address: Dashboard,
) -> None:
    """Stop a job. Its committed results stay: submit the recipe again to continue."""
    from infra.cluster import dashboard

    reached = dashboard.Dashboard.at(address)
    target = reached.job(job)
    if target.status in dashboard.ENDED:
        print(f"{target.name} has ended before: {target.status.lower()}")
        return
    print(f"{target.name}: {reached.stop(target.name).lower()}")
