"""Draw faults, repeat the run until it ends, and check the store after each fault.

python -m tests.chaos.campaign --faults 200 --seed 1 [--minutes 60] [--table docs/reliability.md]
"""

import argparse
import json
import os
import random
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from infra.artifact import Artifact
from infra.events import EVENTS, read_events
from infra.store import Store
from infra.store.objects import Objects
from infra.store.remote import WORK_VARIABLE
from tests.chaos.faults import ANYWHERE, FLIP, ON_RAY, ON_S3, Fault, Victim, marked
from tests.chaos.table import Report, write_table
from tests.kit.servers.s3_server import CREDENTIALS, S3, running_s3

DISK_MIB = 256
RUN_LIMIT_S = 900.0
"""After so long a run counts as hanging."""
FAULTS_PER_STORE = 10
LEAVE_S = 90.0
"""Idle helpers of Ray end 62 s after a kill, by a limit inside Ray."""
MODES = (("inline", "folder"), ("inline", "s3"), ("ray", "folder"), ("ray", "s3"))


@dataclass
class Case:
    """One store, disturbed several times until its run ends."""

    mode: str
    kind: str
    folder: Path
    s3: S3 | None
    draw: random.Random
    mark: str = field(default_factory=lambda: f"chaos-{secrets.token_hex(6)}")
    dropped: dict[str, int] = field(default_factory=dict)
    """Results that were damaged and dropped, by how often."""
    problems: list[str] = field(default_factory=list)
    shared: set[Path] = field(default_factory=set)
    """Files of shared memory that its processes had open when they were disturbed."""

    @property
    def location(self) -> str:
        return self.s3.address(self.folder.name) if self.s3 else str(self.disk / "store")

    @property
    def disk(self) -> Path:
        return self.folder / "disk"

    def environment(self) -> dict[str, str]:
        """Of the run: credentials as a test has them, its own folders, and the mark of all its processes."""
        names = ("RAY_ADDRESS", "MLFLOW_TRACKING_URI")
        inherited = {name: value for name, value in os.environ.items() if name not in names}
        own = {"CHAOS_MARK": self.mark, WORK_VARIABLE: str(self.disk / "work"), "OMP_NUM_THREADS": "1"}
        return {**inherited, **CREDENTIALS, **own}

    def start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tests.chaos.chain", self.location, self.mode]
        with (self.folder / "output.txt").open("ab") as output:
            return subprocess.Popen(command, stdout=output, stderr=output, env=self.environment())

    def faults(self) -> Mapping[str, Fault]:
        return {**ANYWHERE, **(ON_RAY if self.mode == "ray" else {}), **(ON_S3 if self.s3 else {})}

    @property
    def observed(self) -> str:
        """The store's address for an observer whom no fault hits."""
        return self.s3.quiet_address(self.folder.name) if self.s3 else self.location

    def store(self) -> Store:
        """The store as another machine sees it."""
        os.environ[WORK_VARIABLE] = str(self.folder / "observer")
        store = Store(self.observed)
        store.refresh()
        return store

    def committed(self) -> dict[str, Artifact]:
        return {artifact.manifest.key: artifact for artifact in self.store().artifacts()}


@dataclass(frozen=True)
class Struck:
    """A fault that hit, and how many results were committed when it did."""

    fault: str
    mode: str
    kind: str
    num_committed: int


def finish(case: Case, process: "subprocess.Popen[bytes]") -> int:
    """Wait until the run has ended, and undo what is left of its faults: its exit status."""
    try:
        return process.wait(RUN_LIMIT_S)
    except subprocess.TimeoutExpired:
        case.problems.append(f"a run hangs for {RUN_LIMIT_S:.0f} s")
        for each in marked(case.mark):
            with suppress(Exception):
                each.kill()
        return process.wait()
    finally:
        if case.s3:
            case.s3.faults.refusals.clear()


def play(case: Case, calm_s: float, names: list[str]) -> Iterator[Struck]:
    """Disturb one store by faults of these names. Bits flip when a run has succeeded, and at the end; the faults that
    are left then strike the run that builds the dropped result again."""
    pending, num_flips = [name for name in names if name != FLIP], names.count(FLIP)
    while pending:
        succeeded, struck = disturb(case, pending, calm_s)
        yield from struck
        pending = pending[len(struck) :]
        if not struck and not (succeeded and num_flips):
            break
        if succeeded and num_flips:
            num_flips -= 1
            yield from flip(case)
    for _ in range(num_flips):
        yield from flip(case)


def disturb(case: Case, names: list[str], calm_s: float) -> tuple[bool, list[Struck]]:
    """Start the run, strike one fault after another as long as it lives, and let it end: whether it succeeded, and the
    faults that hit."""
    runs_before, at_start = runs_of(case), case.committed()
    process, committed, struck = case.start(), at_start, list[Struck]()
    delay_s = case.draw.uniform(0.2, 0.9) * calm_s
    for name in names:
        if not lives(process, delay_s):
            break
        committed = case.committed()
        if not strike(case, process, name, calm_s):
            break
        struck.append(Struck(name, case.mode, case.kind, len(committed)))
        delay_s = case.draw.uniform(0.05, 0.3) * calm_s
    succeeded = finish(case, process) == 0
    check(case, at_start, committed, runs_before, " and ".join(each.fault for each in struck))
    return succeeded, struck


def lives(process: "subprocess.Popen[bytes]", seconds: float) -> bool:
    """Wait; whether the process runs to the end of the time."""
    with suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    return process.poll() is None


def strike(case: Case, process: "subprocess.Popen[bytes]", name: str, limit_s: float) -> bool:
    """Whether the fault hit. It is tried until it has a process to hit, at most so long."""
    deadline = time.monotonic() + limit_s
    victim = Victim(process.pid, case.mark, case.disk, case.s3)
    case.shared |= victim.shared_memory()
    while process.poll() is None and time.monotonic() < deadline:
        if case.faults()[name](victim, case.draw):
            return True
        time.sleep(0.05)
    return False


def check(
    case: Case, started: Mapping[str, Artifact], before: Mapping[str, Artifact], runs_before: set[Path], faults: str
) -> None:
    """Results that were committed `before` the last fault are unchanged; those of the start were not built again."""
    after = case.committed()
    for key, artifact in before.items():
        if key not in after:
            case.problems.append(f"lost after {faults}: {artifact.manifest.id}")
        elif after[key].manifest != artifact.manifest:
            case.problems.append(f"changed after {faults}: {artifact.manifest.id}")
    # A run that was killed at once has left no log.
    logs = [read_events(folder) for folder in runs_of(case) - runs_before]
    built = {event["key"] for log in logs for event in log if event["event"] == "stage_started"}
    for key in built & started.keys():
        case.problems.append(f"built again after its commit, after {faults}: {started[key].manifest.id}")


def runs_folder(case: Case) -> Path:
    if not case.s3:
        return Path(case.location) / "runs"
    os.environ[WORK_VARIABLE] = str(case.disk / "work")
    return Store(case.location).root / "runs"


def runs_of(case: Case) -> set[Path]:
    """Folders of runs that have written their first event."""
    return {folder for folder in runs_folder(case).glob("*") if (folder / EVENTS).exists()}


def flip(case: Case) -> list[Struck]:
    """Flip a bit of one committed file or object; damage is found, and the result dropped, to be built again."""
    committed = case.committed()
    chances = [(key, entry) for key, artifact in sorted(committed.items()) for entry in artifact.manifest.files]
    if not chances:
        return []
    key, entry = case.draw.choice(chances)
    artifact, bit = committed[key], case.draw.randrange(entry.bytes * 8) if entry.bytes else None
    if bit is None:
        return []
    if case.s3:
        stored = Objects(case.observed)
        content = bytearray(stored.get(f"files/{entry.sha256}"))
    else:
        content = bytearray((artifact.folder / entry.path).read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    if case.s3:
        stored.put(f"files/{entry.sha256}", bytes(content))
    else:
        # Another file, as a disk does it: shards of the state may share the inode.
        (artifact.folder / entry.path).unlink()
        (artifact.folder / entry.path).write_bytes(content)
    store = case.store()
    for other in store.artifacts():
        damaged = store.damaged(other)
        if (other.manifest.key == key) != bool(damaged) and entry.sha256 not in other.manifest.digests().values():
            case.problems.append(f"a flipped bit in {artifact.manifest.id} was found in {other.manifest.id}: {damaged}")
        if damaged:
            store.drop(other, damaged)
            case.dropped[other.manifest.key] = case.dropped.get(other.manifest.key, 0) + 1
    return [Struck(FLIP, case.mode, case.kind, len(committed))]


def end(case: Case, expected: Mapping[str, Mapping[str, str]]) -> None:
    """Let the run end undisturbed, and compare everything with the undisturbed run."""
    for _ in range(3):
        if finish(case, case.start()) == 0:
            break
    committed = case.committed()
    digests = {artifact.manifest.id: dict(artifact.digests) for artifact in committed.values()}
    if digests != expected:
        case.problems.append(f"other results than those of the undisturbed run: {sorted(digests)}")
    store = case.store()
    case.problems += [f"damaged: {each.manifest.id}" for each in committed.values() if store.damaged(each)]
    built: dict[str, int] = {}
    for folder in runs_folder(case).glob("*"):
        for event in read_events(folder):
            if event["event"] == "stage_finished":
                built[event["key"]] = built.get(event["key"], 0) + 1
    for key, count in built.items():
        if count > 1 + case.dropped.get(key, 0):
            case.problems.append(f"built {count} times: {committed[key].manifest.id}")
    case.problems += [f"RUNNING in MLflow: {name}" for name in running_in_mlflow(runs_folder(case).parent)]


def running_in_mlflow(root: Path) -> list[str]:
    """Names of runs that MLflow shows as running."""
    from mlflow import MlflowClient

    from infra.tracking import catch_up, reconcile, tracking_uri

    reconcile(root)
    catch_up(root)
    client = MlflowClient(tracking_uri(root))
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    return [run.info.run_name for run in client.search_runs(experiments, "attributes.status = 'RUNNING'")]


@contextmanager
def case_of(number: int, seed: int, s3: S3, home: Path) -> Iterator[Case]:
    """A store on a separate disk, small enough to be filled."""
    mode, kind = MODES[number % len(MODES)]
    folder = home / f"case-{number}"
    (folder / "disk").mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "chaos", str(folder / "disk")], check=True)
    try:
        yield Case(mode, kind, folder, s3 if kind == "s3" else None, random.Random(f"{seed}:{number}"))
    finally:
        subprocess.run(["umount", "--lazy", str(folder / "disk")], check=True)


def undisturbed(home: Path, s3: S3) -> tuple[dict[str, dict[str, str]], dict[str, float]]:
    """Digests of every result, and seconds of a run by mode."""
    digests: dict[str, dict[str, str]] = {}
    seconds: dict[str, float] = {}
    for number, mode in ((1000, "inline"), (1002, "ray")):
        with case_of(number, 0, s3, home) as case:
            assert case.mode == mode
            started = time.monotonic()
            assert finish(case, case.start()) == 0, (case.folder / "output.txt").read_text()
            seconds[mode] = time.monotonic() - started
            result = {each.manifest.id: dict(each.digests) for each in case.committed().values()}
            assert digests in ({}, result), "the undisturbed runs differ"
            digests = result
    return digests, seconds


def draw_faults(case: Case) -> list[str]:
    """Faults for one store, of any kind as often as another."""
    return case.draw.choices([FLIP, *case.faults()], k=FAULTS_PER_STORE)


def campaign(num_faults: int, seed: int, minutes: float, home: Path, log: Path) -> Report:
    """Play until this many faults have hit, or the time is over."""
    os.environ.update(CREDENTIALS)
    struck: list[Struck] = []
    problems: list[str] = []
    marks: list[str] = []
    shared: set[Path] = set()
    with running_s3() as s3:
        expected, seconds = undisturbed(home, s3)
        started = time.monotonic()
        number = 0
        while len(struck) < num_faults and time.monotonic() - started < 60 * minutes:
            with case_of(number, seed, s3, home) as case:
                drawn = draw_faults(case)
                for each in play(case, seconds[case.mode], drawn[: num_faults - len(struck)]):
                    struck.append(each)
                    with log.open("a") as file:
                        file.write(json.dumps(asdict(each)) + "\n")
                    print(f"{len(struck)}: {each}", flush=True)
                end(case, expected)
                for problem in case.problems:
                    print(f"PROBLEM in case {number} ({case.mode}, {case.kind}): {problem}", flush=True)
                problems += case.problems
                marks.append(case.mark)
                shared |= case.shared
            number += 1
        left = leftovers(marks, shared)
    counts: dict[tuple[str, str], int] = {}
    for each in struck:
        location = f"{each.mode}, {each.kind}"
        counts[each.fault, location] = counts.get((each.fault, location), 0) + 1
    return Report(seed, counts, tuple(problems), left, number, time.monotonic() - started)


def leftovers(marks: list[str], shared: set[Path]) -> int:
    """Processes, and files of shared memory that they had mapped, that are left after the time of Ray's helpers."""
    deadline = time.monotonic() + LEAVE_S
    while (alive := [process for mark in marks for process in marked(mark)]) and time.monotonic() < deadline:
        time.sleep(1)
    for process in alive:
        print(f"LEFT: {process}", flush=True)
        with suppress(Exception):
            process.kill()
    files = [path for path in sorted(shared) if path.exists()]
    for path in files:
        print(f"LEFT: {path}", flush=True)
    return len(alive) + len(files)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faults", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=600.0, help="end after so long")
    parser.add_argument("--table", type=Path, help="page whose table is written")
    options = parser.parse_args()
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="chaos-", ignore_cleanup_errors=True)))
        log = Path(tempfile.gettempdir()) / f"chaos-{options.seed}.jsonl"
        report = campaign(options.faults, options.seed, options.minutes, home, log)
    print(report.text())
    if options.table:
        write_table(report, options.table)
    return 1 if report.problems or report.left else 0


if __name__ == "__main__":
    sys.exit(main())
