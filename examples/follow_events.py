"""Follow a run from Python: every event reaches a function of yours.

    python examples/follow_events.py [STORE]

The command line draws its live table from the same events. A notebook can draw a progress bar, an orchestrator can
report to its own system.
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

import pipelines

SQL = {
    "name": "sql",
    "description": "Generated schemas, questions and queries",
    "source": {
        "inputs": [
            {"kind": "text_to_sql", "num_schemas": 20, "num_heldout_schemas": 2, "pairs_per_schema": 2, "seed": 3}
        ]
    },
}


def show(event: dict[str, Any]) -> None:
    """Print the events; `infra/events.py` lists their destinations."""
    match event["event"]:
        case "run_started":
            print(f"{event['run_id']}: {len(event['stages'])} stages")
        case "progress":
            print(f"  {event['stage']}: {event['done']:g} of {event['total']:g} {event['unit']}")
        case "stage_finished":
            print(f"  {event['stage']}: done in {event['seconds']:.1f} s")
        case "stage_reused":
            print(f"  {event['stage']}: reused")
        case "stage_failed":
            print(f"  {event['stage']}: failed: {event['error']}")
        case "run_finished":
            print(event["status"])


def main(store: Path) -> None:
    recipe = pipelines.Recipe.of(SQL)
    pipelines.run(recipe, store, on_event=show, until="source")
    pipelines.run(recipe, store, on_event=show, until="source")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(Path(temporary) / "store")
