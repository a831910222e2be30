"""Plan and run a recipe without a terminal: from a script, a notebook or the command line.

Example:
    >>> import tempfile
    >>> import pipelines
    >>> store = tempfile.mkdtemp()
    >>> plan = pipelines.plan("data_recipes/corpora/text_to_sql.toml", store)
    >>> [stage.id for stage in plan.to_build]
    ['source[text_to_sql]', 'score[text_to_sql]', 'filter[text_to_sql]', 'dedup[text_to_sql]']

    `result = pipelines.run("data_recipes/corpora/text_to_sql.toml", store)` then builds them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from data_recipes.sections.curriculum import MixSection
from infra.artifact import Artifact
from infra.budget import UNLIMITED, Budget
from infra.context import Event
from infra.inputs import nodes_of
from infra.plan import PlannedStage, require_inputs, select
from infra.plan import missing_packages as missing_packages_of
from infra.plan import plan as plan_stages
from infra.stage import Stage
from infra.store import Store
from pipelines.errors import OptionError
from pipelines.evaluate.stage import missing_evaluation_data
from pipelines.evaluate.statistics.intervals import MIN_UNITS
from pipelines.graph import Graph
from pipelines.lineage.states_of_recipe import ReleasedStates, releasing_stages
from pipelines.mix import MixInputs, check_budgets, pass_length
from pipelines.recipes import Page, Recipe, as_recipe

if TYPE_CHECKING:
    from infra.session import OnEvent, RunResult
    from pipelines.mix.simulator import Simulation

HELDOUT_DOCUMENTS = "data/heldout_documents"
"""Metric of a source."""
AnyRecipe = Recipe | Page | Path | str
"""A recipe, its page, or the file that holds one."""


@dataclass(frozen=True)
class RunPlan:
    """The plan of a run: every stage with its action (`reuse` or `build`) and the reason, inputs first.

    Example:
        >>> import pipelines
        >>> plan = pipelines.plan("data_recipes/corpora/text_to_sql.toml", "no_store_yet", until="source")
        >>> [(planned.stage.id, planned.action, planned.reason) for planned in plan.stages]
        [('source[text_to_sql]', 'build', 'never built in this store')]
    """

    graph: Graph
    stages: tuple[PlannedStage, ...]

    @property
    def to_build(self) -> list[Stage]:
        """Stages without a committed result."""
        return [planned.stage for planned in self.stages if planned.action == "build"]

    @property
    def price(self) -> float | None:
        """Price of a worker-hour of training, None if the recipe has none."""
        run = self.graph.lock.run
        return run.train.price_per_worker_hour if run else None

    @property
    def missing_data(self) -> str:
        """Evaluation data that tasks of the run lack, with the remedy; "" if none is missing."""
        run = self.graph.lock.run
        if run is None or not any(each.name == "evaluate" for each in self.to_build):
            return ""
        return missing_evaluation_data(run.evaluate, Path(self.graph.lock.folders[""]))

    @property
    def warnings(self) -> list[tuple[str, str]]:
        """Stage id and message: held-out parts too small to measure on, and the warnings of the results to reuse from
        when they were built."""
        reused = [(each.stage.id, message) for each in self.stages for message in each.warnings]
        return [*self._tiny_heldouts(), *reused]

    def _tiny_heldouts(self) -> Iterator[tuple[str, str]]:
        """Of the corpora that are built and whose documents will be scored."""
        scored = {name for each in self.to_build if each.name == "evaluate" for name in nodes_of("tokens", each.inputs)}
        for each in self.stages:
            held_out = each.artifact.manifest.metrics.get(HELDOUT_DOCUMENTS) if each.artifact else None
            if held_out is not None and held_out < MIN_UNITS and each.stage.subject in scored:
                yield (
                    each.stage.id,
                    f"{held_out:.0f} held-out documents are too few to measure bits per byte with an interval, which "
                    f"needs {MIN_UNITS}. Raise source.heldout_fraction.",
                )

    @property
    def missing_packages(self) -> list[str]:
        """One line for each group of stages that cannot start in this environment, with the remedy."""
        return missing_packages_of(self.stages)


def plan(recipe: AnyRecipe, store: Path | str, *, until: str | None = None, only: str | None = None) -> RunPlan:
    """Compare a recipe with the contents of a store; read the store, write nothing, start nothing.

    Args:
        recipe: A recipe, the page of a corpus as a model or as a dict, or the path of one.
        store: Folder of committed results; it need not exist.
        until: Stop after the stages whose name or id matches, such as "mix" or "train[1]".
        only: Build only the stages whose name or id matches, such as "evaluate*".

    Raises:
        UserError: The recipe cannot work, an input is missing, or `until` or `only` matches no stage.

    Example:
        >>> import pipelines
        >>> plan = pipelines.plan("data_recipes/runs/quickstart.toml", "no_store_yet", until="tokenizer")
        >>> plan.stages[-1].stage.id, plan.stages[-1].action
        ('tokenizer', 'build')
    """
    return plan_graph(as_recipe(recipe).graph(), Store(store), until, only)


def run(
    recipe: AnyRecipe,
    store: Path | str,
    address: str | None = None,
    on_event: "OnEvent | None" = None,
    *,
    until: str | None = None,
    only: str | None = None,
    register: str = "",
    max_hours: float | None = None,
    max_cost: float | None = None,
) -> "RunResult":
    """Run a recipe; committed results are reused, so the same call continues an interrupted run.

    Args:
        recipe: As of `plan`.
        store: Folder of results, MLflow data and event logs, made if missing.
        address: Ray cluster, such as "auto". Default: RAY_ADDRESS, else a cluster on this machine while the run lasts.
        on_event: Called with every event of the run: `run_started`, `stage_started`, `progress`, `metrics`,
            `stage_finished`, ... `run_finished`.
        until: As of `plan`.
        only: As of `plan`.
        register: Registered model of MLflow that gets the run's last model as a new version, with the run's alias.
        max_hours: The run stops at the next commit after this many hours.
        max_cost: The run stops at the next commit when its workers have cost as much, at
            `train.price_per_worker_hour`.

    Returns:
        The outcome of each stage, with its folder and metrics. A stage that raises fails; the call does not raise.

    Raises:
        UserError: The recipe, the store, the cluster or a package is not as the run needs it.

    Example:
        >>> import tempfile
        >>> import pipelines
        >>> from data_recipes import CorpusRecipe
        >>> page = {"kind": "text_to_sql", "num_schemas": 8, "num_heldout_schemas": 2, "pairs_per_schema": 2, "seed": 1}
        >>> corpus = CorpusRecipe(name="sql", description="Generated questions", source={"inputs": [page]})
        >>> result = pipelines.run(corpus, tempfile.mkdtemp(), until="source")
        >>> result.ok, result.metrics["source[sql]"]["data/documents"]
        (True, 10)
    """
    loaded = as_recipe(recipe)
    return run_graph(
        loaded.graph(),
        store,
        address,
        on_event,
        until=until,
        only=only,
        register=register,
        budget=_budget(loaded, max_hours, max_cost),
    )


def run_graph(
    graph: Graph,
    store: Path | str,
    address: str | None = None,
    on_event: "OnEvent | None" = None,
    *,
    until: str | None = None,
    only: str | None = None,
    register: str = "",
    budget: Budget = UNLIMITED,
) -> "RunResult":
    """Run a graph of stages, as `run` runs that of a recipe."""
    from infra.session import RunInfo, execute

    with Store(store).writing() as opened:
        planned = plan_graph(graph, opened, until, only).stages
        info = RunInfo(graph.name, graph.lock.as_plain(), {"lock.json": graph.lock.to_json()}, register)
        return execute(planned, opened, info, address, _releasing(graph, opened, on_event), budget)


def _releasing(graph: Graph, store: Store, on_event: "OnEvent | None") -> "OnEvent | None":
    """`on_event`, before which the optimizer states go that `train.keep_optimizer_states` releases. Raises
    OptionError."""
    ids = releasing_stages(graph.lock.run) if graph.lock.run else []
    if not ids:
        return on_event
    if store.remote:
        raise OptionError(
            'train.keep_optimizer_states = "last": results in object storage are removed whole only. Set "all".'
        )
    released = ReleasedStates(store, graph.stages, ids)

    def both(event: Event) -> None:
        released(event)
        if on_event:
            on_event(event)

    return both


def _budget(recipe: Recipe, max_hours: float | None, max_cost: float | None) -> Budget:
    """Raises OptionError if a cost is limited and no price is known."""
    price = recipe.require_run().train.price_per_worker_hour if max_cost is not None else None
    if max_cost is not None and price is None:
        raise OptionError(
            f"--max-cost {max_cost:g}: the recipe has no price. Set train.price_per_worker_hour, or limit --max-hours."
        )
    return Budget(max_hours, max_cost, price or 0.0)


def plan_graph(graph: Graph, store: Store, until: str | None = None, only: str | None = None) -> RunPlan:
    """The plan of a run of a graph. Raises RecipeError if a phase asks for more than a built corpus has."""
    selected = select(graph.stages, until, only)
    planned = plan_stages(store, selected)
    if graph.lock.run:
        check_budgets(graph.lock.run, _built_sequences(graph.lock.run.mix, planned))
    if only:
        require_inputs(planned, selected)
    return RunPlan(graph, tuple(planned))


def simulate(recipe: AnyRecipe, store: Path | str, assumptions: Sequence[str] = ()) -> "Simulation":
    """Simulate the data that the phases of a run read, over built corpora and those whose tokens are assumed
    ("web=2e12").

    Raises RecipeError if the size of a corpus is not known or a phase asks for more than there is.
    """
    from pipelines.mix.from_recipe import assumed_sequences
    from pipelines.mix.from_recipe import simulate as simulate_phases

    loaded = as_recipe(recipe)
    run = loaded.require_run()
    loaded.require_fit()
    available = assumed_sequences(assumptions, run.tokenize.sequence_length)
    if not available.keys() >= loaded.corpora.keys():
        planned = plan_stages(Store(store), list(loaded.graph().stages.values()))
        available = _built_sequences(run.mix, planned) | available
    check_budgets(run, available)
    return simulate_phases(run, available)


def _built_sequences(section: MixSection, planned: Sequence[PlannedStage]) -> dict[str, int]:
    """Sequences that a pass over each corpus reads, for the corpora whose inputs to that number are all built."""
    built: dict[str, dict[str, Artifact]] = {"tokenize": {}, "dedup": {}}
    for each in planned:
        if each.artifact and each.stage.name in built:
            built[each.stage.name][each.stage.subject] = each.artifact
    inputs = MixInputs(tokens=built["tokenize"], dedup=built["dedup"])
    return {
        name: pass_length(name, section, inputs)
        for name in inputs.tokens
        if name not in section.rehydrate or name in inputs.dedup
    }
