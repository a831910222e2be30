"""`arctic jobs`."""

import time

from rich.markup import escape

from pipelines.cli.terminal.console import plain_table, print_text, standard_output
from pipelines.cli.terminal.options import Dashboard
from pipelines.cli.terminal.units import duration_text

STYLES = {"RUNNING": "cyan", "SUCCEEDED": "green", "FAILED": "red", "STOPPED": "yellow", "PENDING": "dim"}


def command(address: Dashboard) -> None:
    """List the jobs of a Ray cluster: each is a run that `arctic submit` sent."""
    from infra.cluster import dashboard

    console = standard_output()
    reached = dashboard.Dashboard.at(address)
    jobs = reached.jobs()
    columns = ("job", "status", "started", "recipe", "commit", "store")
    table = plain_table(*columns, "time", left=columns)
    for job in jobs:
        started = time.strftime("%Y-%m-%d %H:%M", time.localtime(job.started)) if job.started else ""
        seconds = duration_text((job.ended or time.time()) - job.started) if job.started else ""
        commit = job.metadata.get("commit", "")[:10]
        named = (job.metadata.get("recipe", ""), commit, job.metadata.get("store", ""))
        status = f"[{STYLES.get(job.status, 'default')}]{job.status.lower()}[/]"
        table.add_row(escape(job.name), status, started, *map(escape, named), seconds)
    console.print(table)
    print_text(console, f"\n{len(jobs)} jobs at {reached.access_hint}")
