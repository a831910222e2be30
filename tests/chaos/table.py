"""The numbers of a campaign as a table of docs/reliability.md."""

import platform
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

BEGIN, END = "<!-- made by make chaos -->", "<!-- end of the table -->"


@dataclass(frozen=True)
class Report:
    """A campaign: faults that hit, by kind and place; violations of a guarantee; processes and shared memory left."""

    seed: int
    counts: Mapping[tuple[str, str], int]
    problems: tuple[str, ...]
    left: int
    num_stores: int
    seconds: float

    @property
    def num_faults(self) -> int:
        return sum(self.counts.values())

    def text(self) -> str:
        """The table and its sums, as Markdown."""
        locations = sorted({location for _, location in self.counts})
        names = sorted({name for name, _ in self.counts})
        lines = ["| fault | " + " | ".join(locations) + " |", "|---" * (1 + len(locations)) + "|"]
        for name in names:
            lines.append(
                f"| {name} | " + " | ".join(str(self.counts.get((name, location), 0)) for location in locations) + " |"
            )
        guarantees = {
            "committed results lost": "lost",
            "results built again after their commit": "built",
            "results that differ from the undisturbed run": ("changed", "other", "damaged", "a flipped bit"),
            "runs left RUNNING in MLflow": "RUNNING",
            "runs that hang": "a run hangs",
        }
        sums = [f"| {what} | {self._count(start)} |" for what, start in guarantees.items()]
        machine = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
        date = time.strftime("%Y-%m-%d")
        size = f"{self.num_faults} faults in {self.num_stores} stores, seed {self.seed}, {self.seconds / 60:.0f} min"
        title = f"{size}, {date}, {machine}"
        more = [f"| processes or shared memory left | {self.left} |"]
        return "\n".join([title + ":", "", *lines, "", "| guarantee | breaches |", "|---|---|", *sums, *more])

    def _count(self, start: str | tuple[str, ...]) -> int:
        return sum(problem.startswith(start) for problem in self.problems)


def write_table(report: Report, page: Path) -> None:
    """Replace the table of a page."""
    text = page.read_text(encoding="utf-8")
    made = f"{BEGIN}\n{report.text()}\n{END}"
    page.write_text(re.sub(f"{BEGIN}.*{END}", lambda _: made, text, flags=re.DOTALL), encoding="utf-8")
