"""The simulation of a run matches the run's own reading, sequence for sequence, without a token."""

import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from data_recipes import RecipeError, RunRecipe, load_run
from data_recipes.sections.curriculum import MixSection
from infra.context import StageContext
from pipelines import mix
from pipelines.artifacts.sequence_order.phase_plan import CorpusShare, PhasePlan
from pipelines.artifacts.tokenization.tokens import PIECES, TokensIndex, write_token_shard
from pipelines.cli.terminal.tables.mixture import print_mix
from pipelines.mix import Lengths, MixInputs
from pipelines.mix import simulator as mix_simulator
from pipelines.mix.from_recipe import assumed_sequences, epoch_limits, simulate
from pipelines.mix.simulator import draw_mix
from tests.kit.stages import committed, idle_stage

ARCTIC = Path(__file__).parents[3] / "data_recipes" / "runs" / "arctic_480b.toml"
ARCTIC_32K = ARCTIC.with_name("arctic_480b_32k.toml")
LENGTH, PER_STEP = 8, 4  # as in run_recipe
SIZES = {"code": 60, "sql": 25, "web": 200}
PHASES = [
    {"name": "general", "tokens": 800, "weights": {"code": 0.2, "web": 0.8}},
    {
        "name": "code",
        "tokens": 960,
        "weights": {"code": 0.3, "web": 0.7},
        "weights_to": {"code": 0.5, "sql": 0.3, "web": 0.2},
    },
    {"name": "sql", "tokens_per_corpus": {"code": 160, "sql": 320, "web": 160}},
]


def run_plans(run: RunRecipe, home: Path) -> list[PhasePlan]:
    """The plans that the stages of the run leave."""
    inputs, tokens = {}, {}
    for name, size in SIZES.items():
        write_token_shard(np.zeros((size, LENGTH + 1), np.uint16), PIECES.empty_table(), home / name, "train", 0)
        TokensIndex(LENGTH, "uint16", 300, 0, 1, {"train": [size], "heldout": []}, {}, {}).write(home / name)
        inputs[f"tokens:{name}"] = committed(home / name)
        tokens[name] = idle_stage("tokenize", name)
    plans, previous = [], None
    for number, phase in enumerate(run.phases, start=1):
        previous = mix.stage(number, phase, run.mix, Lengths(LENGTH, LENGTH), MixInputs(tokens, previous=previous))
        out = home / f"mix-{number}"
        out.mkdir()
        previous.work(StageContext(previous.id, out, home, [].append), inputs)
        inputs["previous"] = committed(out)
        plans.append(PhasePlan.read(out))
    return plans


def test_the_simulation_equals_the_run_sequence_for_sequence(tmp_path: Path, run_recipe) -> None:
    run = run_recipe(PHASES, seed=5)
    simulated = simulate(run, SIZES)
    for (phase, _), plan in zip(simulated.phases, run_plans(run, tmp_path), strict=True):
        assert phase.plan == plan
        for result, expected in zip(
            phase.plan.sequences(0, plan.num_sequences), plan.sequences(0, plan.num_sequences), strict=True
        ):
            np.testing.assert_array_equal(result, expected)


def test_steps_tokens_and_epochs_are_those_of_a_reader(tmp_path: Path, run_recipe) -> None:
    run = run_recipe(PHASES, max_epochs=1.2)
    simulated = simulate(run, SIZES)
    times: dict[tuple[str, int], int] = {}
    taken = dict.fromkeys(SIZES, 0)
    step = 0
    for phase, corpora in simulated.phases:
        repeats: dict[str, tuple[int, int]] = {}
        over: dict[str, tuple[int, int]] = {}
        before, already = dict(taken), {name for (name, _), count in times.items() if count > 1}
        assert phase.first_step == step + 1
        for start in range(0, phase.plan.num_sequences, PER_STEP):
            step += 1
            for index, sequence in zip(*phase.plan.sequences(start, PER_STEP), strict=True):
                name = phase.plan.shares[index].corpus
                times[name, sequence] = times.get((name, sequence), 0) + 1
                taken[name] += 1
                if times[name, sequence] > 1 and name not in already:
                    repeats.setdefault(name, (step, step))
                if taken[name] > 1.2 * SIZES[name] and before[name] <= 1.2 * SIZES[name]:
                    over.setdefault(name, (step, step))
        assert phase.last_step == step
        for corpus in corpora:
            assert corpus.tokens == (taken[corpus.corpus] - before[corpus.corpus]) * LENGTH
            assert corpus.epochs == taken[corpus.corpus] / SIZES[corpus.corpus]
            assert corpus.first_repeat == repeats.get(corpus.corpus)
            assert corpus.runs_out == over.get(corpus.corpus)
    assert {name for (name, _), count in times.items() if count > 1} == {"code", "sql"}


def test_in_a_phase_too_long_to_walk_the_steps_of_the_window_are_named(
    monkeypatch: pytest.MonkeyPatch, run_recipe
) -> None:
    exact = simulate(run_recipe(PHASES, max_epochs=1.2), SIZES)
    monkeypatch.setattr(mix_simulator, "WALKED_POSITIONS", 0)
    named = simulate(run_recipe(PHASES, max_epochs=1.2), SIZES)
    pairs = [
        (corpus.first_repeat, rough.first_repeat)
        for (_, corpora), (_, roughly) in zip(exact.phases, named.phases, strict=True)
        for corpus, rough in zip(corpora, roughly, strict=True)
        if corpus.first_repeat
    ]
    assert len(pairs) == 2
    for (step, _), (first, last) in pairs:
        assert first <= step <= last <= first + 2


def test_a_size_that_is_not_known_is_asked_for(run_recipe) -> None:
    with pytest.raises(RecipeError, match="the size of code, sql is not known. .* --assume code=2e12"):
        simulate(run_recipe(PHASES), {"web": 1})


def test_assumptions_are_tokens_of_whole_sequences() -> None:
    assert assumed_sequences(["web=2e12", "code=1000"], 4096) == {"web": 488_281_250, "code": 0}
    for wrong in ("web", "web=many", "web=1/0", "web=-9", "=5"):
        with pytest.raises(RecipeError, match="is not CORPUS=TOKENS, such as web=2e12"):
            assumed_sequences([wrong], 8)


@pytest.mark.parametrize(
    ("recipe", "expected", "last_step"),
    [(ARCTIC, [1000, 1500, 1000], 208_600), (ARCTIC_32K, [1000, 1500, 1000, 7], 209_018)],
    ids=["4K", "32K"],
)
def test_arctics_curriculum_can_be_read_as_it_is_told(recipe: Path, expected: list[int], last_step: int) -> None:
    run, _ = load_run(recipe)
    command = " ".join(line.strip("# \\") for line in recipe.read_text().splitlines() if "--assume" in line)
    assumptions = [word for word in command.split() if "=" in word]
    available = assumed_sequences(assumptions, run.tokenize.sequence_length)
    mix.check_budgets(run, available)
    simulated = simulate(run, available)
    billions = [round(phase.tokens / 1e9) for phase, _ in simulated.phases]
    assert billions == expected
    assert simulated.phases[-1][0].last_step == last_step


def test_the_printed_mixture_names_every_corpus_and_every_warning(run_recipe) -> None:
    console = Console(file=io.StringIO(), width=140)
    print_mix(simulate(run_recipe(PHASES, max_epochs=1.2), SIZES), console)
    text = console.file.getvalue()
    lines = [line.split() for line in text.splitlines()]
    assert ["general", "1", "-", "25", "code", "160", "20.00%", "0.333"] in lines
    assert any(line[:1] == ["sql"] and "step" in line for line in lines)
    assert "a code   b sql   c web" in text
    top, bottom = text.splitlines()[-14], text.splitlines()[-3]
    assert set(top.split()[1]) == {"c"}
    assert bottom.split()[1][0] == "a"


def test_the_figure_stacks_to_one(run_recipe) -> None:
    figure = draw_mix(simulate(run_recipe(PHASES), SIZES))
    upper = figure.axes[0].collections[-1].get_paths()[0].vertices[:, 1]
    assert upper.max() == pytest.approx(1.0)
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["web", "sql", "code"]


def test_limits_may_differ_between_corpora() -> None:
    limits = epoch_limits(MixSection(max_epochs=2.0, max_epochs_per_corpus={"sql": 6.5}))
    assert [limits.sequences(CorpusShare(name, 1, 0, 3)) for name in ("sql", "web")] == [19, 6]


def test_steps_count_on_over_phases_of_other_batches(run_recipe) -> None:
    """800 tokens are 25 steps of 4 sequences of 8; 960 are 15 steps of 8; then 640 are 20 steps of 4."""
    run = run_recipe([PHASES[0], PHASES[1] | {"train": {"global_batch_sequences": 8}}, PHASES[2]])
    result = [(phase.first_step, phase.last_step) for phase, _ in simulate(run, SIZES).phases]
    assert result == [(1, 25), (26, 40), (41, 60)]
