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
    found = reached.job(job)
    if found.status in dashboard.ENDED:
        print(f"{found.name} has ended before: {found.status.lower()}")
        return
    print(f"{found.name}: {reached.stop(found.name).lower()}")
