"""Take the pictures of README and guides from a store that holds a run: terminal, report, MLflow.

python docs/pictures.py STORE

Needs Chromium on the PATH. So no picture shows a run that was never made; take them again after a change of the
quickstart, the report or MLflow.
"""

import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from infra.events import read_events
from infra.tracking.cursor import CURSOR
from pipelines.cli.terminal.live.frame import frame
from pipelines.cli.terminal.live.stage_rows import RunRows

IMAGES = Path(__file__).with_name("images")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
COLUMNS = 110
PAGE = (1400, 900)
PHONE = (390, 844)
PORT = 5917
RENDERED_MS = 90_000
"""Virtual milliseconds that a page may take to render."""


def main(store: Path) -> None:
    run = newest_run(store)
    draw_terminal(run, IMAGES / "terminal.svg")
    report = max(store.glob("stages/report/*/report.html"), key=lambda path: path.stat().st_mtime)
    take(report.resolve().as_uri(), IMAGES / "report.png")
    take_on_phone(report.resolve(), IMAGES / "report_phone.png")
    take_mlflow(store, run, IMAGES / "mlflow.png")


def newest_run(store: Path) -> Path:
    """The folder of the newest run that built its report."""
    runs = sorted(store.glob("runs/*/events.jsonl"), key=lambda path: path.stat().st_mtime)
    return next(path.parent for path in reversed(runs) if b'"stage": "report"' in path.read_bytes())


def draw_terminal(run: Path, image: Path) -> None:
    """The last frame of a run, with the result of every stage."""
    rows, end = RunRows(), 0.0
    for event in read_events(run):
        rows.apply(event)
        end = event["time"]
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(frame(rows, end, COLUMNS))
    console.save_svg(str(image), title=f"arctic run {rows.name}.toml")


def take_mlflow(store: Path, run: Path, image: Path) -> None:
    """The metrics of a run in MLflow, whose server is on loopback while the picture is taken."""
    tracked = json.loads((run / CURSOR).read_text())
    command = [str(Path(sys.executable).with_name("arctic")), "ui", "--store", str(store), "--port", str(PORT)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        link = next(match[0] for line in server.stdout if (match := re.search(r"http://\S+", line)))
        path = f"#/experiments/{tracked['experiment_id']}/runs/{tracked['runs']['']}/model-metrics"
        take(f"{link.partition('#')[0]}{path}", image)
    finally:
        server.terminate()
        server.wait(60)


def take_on_phone(page: Path, image: Path) -> None:
    """A picture of a page in a frame: a browser's own window cannot be as narrow as a phone."""
    width, height = PHONE
    frame = f'<iframe src="{page.as_uri()}" style="border:0;width:{width}px;height:{height}px"></iframe>'
    with TemporaryDirectory() as folder:
        wrapper = Path(folder) / "phone.html"
        wrapper.write_text(f'<body style="margin:0">{frame}')
        take(wrapper.as_uri(), image, PHONE)


def take(address: str, image: Path, size: tuple[int, int] = PAGE) -> None:
    """A picture of a page's first screen."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        sys.exit(f"no browser: install one of {', '.join(BROWSERS)}")
    width, height = size
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--window-size={width},{height}"]
    options += [f"--virtual-time-budget={RENDERED_MS}", f"--screenshot={image}", "--allow-file-access-from-files"]
    subprocess.run([browser, *options, address], check=True, capture_output=True, timeout=180)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
