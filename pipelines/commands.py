"""What the commands do, between the recipe that the user names and the runner."""

import os
import re
import secrets
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from data_recipes import CorpusRecipe, RecipeError, load_recipe, load_run
from data_recipes.curriculum import MixSection
from data_recipes.lock import Lock
from infra.events import EventLog
from infra.host.masking import masked
from infra.host.packages import PackageError
from infra.host.provenance import provenance
from infra.plan import PlannedStage, missing_packages, plan, require_inputs, select
from infra.runner import Outcome, run, run_inline
from infra.store import Artifact, Store, StoreError, write_durably
from pipelines import console
from pipelines.artifacts.documents import HELDOUT, TRAIN
from pipelines.fit import require_fit
from pipelines.graph import Graph, corpus_graph, run_graph
from pipelines.mix import MixInputs, check_budgets, pass_length
from pipelines.replay import compare
from pipelines.summary import print_summary


@dataclass(frozen=True)
class PlannedRun:
    """A graph and what is to be done with it in a store."""

    graph: Graph
    planned: list[PlannedStage]


def load_graph(recipe: Path, overrides: Sequence[str] = ()) -> Graph:
    """The graph of a run recipe, a corpus recipe or a lock. Raises RecipeError."""
    if recipe.suffix == ".json":
        return _locked_graph(recipe, overrides)
    loaded = load_recipe(recipe, overrides)
    if isinstance(loaded, CorpusRecipe):
        return corpus_graph(loaded, recipe)
    return run_graph(*load_run(recipe, overrides), recipe)


def _locked_graph(path: Path, overrides: Sequence[str]) -> Graph:
    if overrides:
        raise RecipeError(
            f"{path}: a lock is complete; --set {overrides[0]} would change it. Change the recipe instead."
        )
    try:
        lock = Lock.from_json(path.read_text(encoding="utf-8"), path)
    except FileNotFoundError:
        raise RecipeError(f"{path}: no such lock. A run writes one to store/runs/<run>/lock.json.") from None
    if not lock.corpora:
        raise RecipeError(f"{path}: the lock of an evaluation, which has no recipe. Run arctic evaluate again.")
    recipes, earlier = (
        {name: (Path(lock.folders[name], f"{name}.toml"), recipe) for name, recipe in corpora.items()}
        for corpora in (lock.corpora, lock.earlier)
    )
    if lock.run:
        graph = run_graph(lock.run, recipes, Path(lock.folders[""], f"{lock.run.name}.toml"), earlier)
    else:
        ((origin, recipe),) = recipes.values()
        graph = corpus_graph(recipe, origin, earlier)
    lock.require_pins(graph.lock, path)
    return graph


def plan_run(recipe: Path, store: Path, overrides: Sequence[str], until: str | None, only: str | None) -> PlannedRun:
    """What a run would do. Reads the store, writes nothing."""
    graph = load_graph(recipe, overrides)
    return PlannedRun(graph, _plan(graph, Store(store), until, only))


def _plan(graph: Graph, store: Store, until: str | None, only: str | None) -> list[PlannedStage]:
    chosen = select(graph.stages, until, only)
    planned = plan(store, chosen)
    if graph.lock.run:
        check_budgets(graph.lock.run, _built_sequences(graph.lock.run.mix, planned))
    if only:
        require_inputs(planned, chosen)
    return planned


def _built_sequences(section: MixSection, planned: Sequence[PlannedStage]) -> dict[str, int]:
    """Sequences that a pass over each corpus reads, of those of which all is built that says so."""
    built: dict[str, dict[str, Artifact]] = {"tokenize": {}, "dedup": {}}
    for step in planned:
        if step.artifact and step.stage.name in built:
            built[step.stage.name][step.stage.subject] = step.artifact
    inputs = MixInputs(tokens=built["tokenize"], dedup=built["dedup"])
    return {
        name: pass_length(name, section, inputs)
        for name in inputs.tokens
        if name not in section.rehydrate or name in inputs.dedup
    }


def plan_mix(
    recipe: Path, store: Path, overrides: Sequence[str], assumptions: Sequence[str], terminal: Console
) -> None:
    """Simulate the phases of a run over its built corpora and those whose tokens are assumed. Raises RecipeError."""
    from pipelines.mix.simulator import assumed_sequences, print_mix, simulate

    run, recipes = load_run(recipe, overrides)
    require_fit(run, recipe)
    available = assumed_sequences(assumptions, run.tokenize.sequence_length)
    if not available.keys() >= recipes.keys():
        graph = run_graph(run, recipes, recipe)
        available = _built_sequences(run.mix, plan(Store(store), list(graph.stages.values()))) | available
    check_budgets(run, available)
    print_mix(simulate(run, available), terminal)


def export_corpus(corpus: str, out: Path, form: str, split: str, store: Path, terminal: Console) -> None:
    """Write the packed tokens of a corpus that was built last, or of a result by its key. Raises RecipeError."""
    from pipelines.tokenize.export import export_tokens

    named = [
        artifact
        for artifact in Store(store).artifacts()
        if artifact.manifest.name == "tokenize" and corpus in (artifact.manifest.subject, artifact.manifest.key)
    ]
    if not named:
        raise RecipeError(f"store {store}: no tokens of {corpus!r}. Run a recipe with this corpus until tokenize.")
    if split not in (TRAIN, HELDOUT):
        raise RecipeError(f"--split {split!r}: there are {TRAIN} and {HELDOUT}.")
    latest = max(named, key=lambda artifact: artifact.made)
    try:
        written = export_tokens(latest.path, split, form, out)
    except ValueError as error:
        raise RecipeError(str(error)) from None
    terminal.print(f"{written.documents:,} documents, {written.tokens:,} tokens:", highlight=False)
    for file in written.files:
        terminal.print(str(file), markup=False, highlight=False, soft_wrap=True)


def profiling(steps: str | None) -> list[str]:
    """The override that `--profile` stands for; the field it sets is in no stage's key. Raises RecipeError."""
    if steps is None:
        return []
    if not re.fullmatch(r"steps=\d+:\d+", steps):
        raise RecipeError(f"--profile {steps}: give the first and the last step, such as steps=10:13")
    return [f'train.profile_steps="{steps.removeprefix("steps=")}"']


def run_recipe(
    recipe: Path,
    store_path: Path,
    address: str | None,
    overrides: Sequence[str],
    until: str | None,
    only: str | None,
    terminal: Console,
) -> bool:
    """Run and follow a recipe; True where every stage has its result."""
    graph = load_graph(recipe, overrides)
    store = Store(store_path).open()
    with store.locked():
        store.remove_scratch()
        return execute(graph, _plan(graph, store, until, only), store, address, terminal)


def ablate_recipe(
    recipe: Path,
    store_path: Path,
    address: str | None,
    overrides: Sequence[str],
    phase: int,
    candidates: int,
    seed: int,
    out: Path | None,
    terminal: Console,
) -> bool:
    """Search the mixture of one phase and write the run recipe with the best; True where every stage has its result."""
    from pipelines.ablate.stage import Ablation
    from pipelines.ablation import ablation_graph, print_ablation, write_best

    graph = ablation_graph(*load_run(recipe, overrides), recipe, phase, candidates, seed)
    store = Store(store_path).open()
    with store.locked():
        store.remove_scratch()
        if not execute(graph, plan(store, list(graph.stages.values())), store, address, terminal):
            return False
    folder = store.path(graph.stages[f"ablate[{phase}]"])
    target = out or recipe.with_name(f"{recipe.stem}-phase{phase}-best.toml")
    found = Ablation.read(folder)
    write_best(recipe, found, target)
    print_ablation(found, folder, target, terminal)
    return True


def execute(graph: Graph, planned: list[PlannedStage], store: Store, address: str | None, terminal: Console) -> bool:
    """Run what is planned of a graph, told on the terminal, in the event log and in MLflow; True where all came out.

    Raises PackageError, before anything is built, if a stage cannot start on this machine for want of a package.
    """
    from infra.tracking import Tracker, reconcile

    _require_packages(planned, address, terminal)
    run_id = f"{graph.name}-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
    folder = store.root / "runs" / run_id
    reconcile(store.root)
    log = EventLog(folder)
    write_durably(folder / "lock.json", masked(graph.lock.to_json()))
    log.append(_run_started(run_id, graph, planned))
    tracker = Tracker(store.root, run_id)
    tracker.start()
    started = time.monotonic()
    status = "killed"
    try:
        with console.view(terminal, planned) as watch:
            outcome = _run_stages(planned, store, log, watch, address)
        status = "finished" if outcome.ok else "failed"
    finally:
        seconds = time.monotonic() - started
        # A full disk has been reported by then, and the next run closes a log without an end.
        with suppress(StoreError):
            log.append({"event": "run_finished", "status": status, "seconds": round(seconds, 3)})
        log.close()
        tracker.stop()
    print_summary(outcome, planned, store.root, seconds, terminal)
    return outcome.ok


def _require_packages(planned: list[PlannedStage], address: str | None, terminal: Console) -> None:
    """Refuse what this machine cannot run. Another cluster may have packages that this machine lacks: there each stage
    looks for them before it starts."""
    lacking = missing_packages(planned)
    if lacking and address is None and "RAY_ADDRESS" not in os.environ:
        raise PackageError("\n".join(lacking))
    for line in lacking:
        terminal.print(f"MISSING PACKAGE on this machine, {line}", style="yellow", markup=False, soft_wrap=True)


def _run_stages(
    planned: list[PlannedStage], store: Store, log: EventLog, watch: console.View, address: str | None
) -> Outcome:
    if all(step.artifact for step in planned):
        return run_inline(planned, store, log, watch)
    from infra.cluster.connection import connect

    with connect(address):
        return run(planned, store, log, watch)


def _run_started(run_id: str, graph: Graph, planned: list[PlannedStage]) -> dict[str, object]:
    stages = [
        {
            "id": step.stage.id,
            "name": step.stage.name,
            "subject": step.stage.subject,
            "key": step.stage.key,
            "action": step.action,
            "reason": step.reason,
            "inputs": {name: upstream.key for name, upstream in step.stage.inputs.items()},
        }
        for step in planned
    ]
    identity = {"run_id": run_id, "name": graph.name, "process": os.getpid()}
    return {
        "event": "run_started",
        **identity,
        "recipe": graph.lock.as_plain(),
        "stages": stages,
        "provenance": provenance(),
    }


def replay_recipe(
    recipe: Path, store_path: Path, address: str | None, overrides: Sequence[str], until: str | None, terminal: Console
) -> bool:
    """Build `recipe` in a fresh store and compare with `store_path`; True where nothing differs."""
    committed = plan_run(recipe, store_path, overrides, until, None)
    missing = [step.stage.id for step in committed.planned if step.artifact is None]
    if missing:
        raise RecipeError(
            f"{recipe}: nothing to compare with: {', '.join(missing)} not committed in {store_path}. "
            f"Run it first: arctic run {recipe} --store {store_path}"
        )
    from infra.cluster.connection import connect

    with tempfile.TemporaryDirectory(prefix="arctic-replay-") as folder:
        fresh = Store(Path(folder)).open()
        planned = plan(fresh, select(committed.graph.stages, until))
        log = EventLog(fresh.root / "runs" / "replay")
        with connect(address), console.view(terminal, planned) as watch:
            outcome = run(planned, fresh, log, watch)
        log.close()
        originals = {step.stage.id: step.artifact for step in committed.planned if step.artifact}
        return compare(originals, outcome, terminal)
