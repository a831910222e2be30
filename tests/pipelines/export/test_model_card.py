"""The card has the counts that its run committed, and shows no text of a document as markup."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from arctic_model.export.formats import FORMATS
from arctic_model.presets import preset
from pipelines.artifacts.evaluation import Score, Scores
from pipelines.export.model_card import model_card
from pipelines.export.run_record import CorpusRecord, PhaseRecord, RunRecord

CONFIG = preset("tiny")


@pytest.fixture
def card() -> str:
    from arctic_model.export.validation import Agreement

    agreement = Agreement("transformers 5.23.0", 302, 4e-7, 1.0, -1e-16, 2.5, 2.5, 1.0)
    return model_card(record({"MIT": 3, "": 2, "a|b <script>": 1}), FORMATS["huggingface"], "float32", agreement)


def record(licences: Mapping[str, int]) -> RunRecord:
    corpora = [CorpusRecord("web", 2000, 1500, 1200, 34567, licences)]
    phases = [PhaseRecord("general", {"web": 4000}), PhaseRecord("sql", {"web": 1000, "sql": 5000})]
    scores = Scores("sql", 10, 10_000, {"spider/execution_accuracy": Score(0.25, 40, 0.125, 0.375)})
    return RunRecord("small", "hf", CONFIG, corpora, phases, scores, ["train[2]@0123"])


def rows(card: str) -> dict[str, list[str]]:
    """Cells of every table by the first."""
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in card.splitlines() if line[:1] == "|"]
    return {first: rest for first, *rest in cells}


def test_every_figure_of_the_run_is_on_the_card(card: str) -> None:
    table = rows(card)
    assert table["training tokens"] == ["10,000"]
    assert table["spider/execution_accuracy"] == ["0.250", "0.125 to 0.375", "40"]
    assert table["sql"] == ["0", "5,000"]
    assert "| web | 2,000 | 1,500 | 1,200 | 34,567 |" in card
    assert table["equal likeliest tokens"] == ["100.00%"]
    assert table["mean KL divergence"] == ["0 nats per token"]


def test_the_card_of_a_fine_tune_shows_its_base_beside_it() -> None:
    from arctic_model.export.validation import Agreement

    agreement = Agreement("e", 1, 0.0, 1.0, 0.0, 1.0, 1.0, 1.0)
    base = Scores("sql", 10, 10_000, {"spider/execution_accuracy": Score(0.125, 40, 0.0, 0.25)})
    scores = {"spider/execution_accuracy": Score(0.25, 40, 0.125, 0.375), "ifeval/acc": Score(0.5, 40, 0.4, 0.6)}
    tuned = replace(record({}), scores=Scores("instruct", 10, 10_000, scores), base=base)

    card = model_card(tuned, FORMATS["huggingface"], "float32", agreement)

    table = rows(card)
    assert table["measure"] == ["score", "95 % interval", "n", "score of sql"]
    assert table["spider/execution_accuracy"] == ["0.250", "0.125 to 0.375", "40", "0.125"]
    assert table["ifeval/acc"][-1] == "not measured"


def test_compute_is_six_times_active_parameters_times_tokens(card: str) -> None:
    """Of the tiny preset, by hand: embedding and head, attention, dense MLP, gate, three norms and two experts of each
    layer, and the last norm."""
    layer = 2 * 32 * 32 + 2 * 16 * 32 + 3 * 32 * 32 + 4 * 32 + 3 * 32 + 2 * 3 * 24 * 32
    active = 2 * 384 * 32 + 2 * layer + 32
    assert rows(card)["training compute"][0].startswith(f"{6 * active * 10_000:.3g} FLOP")


def test_licences_come_most_frequent_first_and_as_plain_text(card: str) -> None:
    assert "| web | MIT (3), none stated (2), a/b (script) (1) |" in card
    assert "<script>" not in card


def test_many_licences_are_cut_and_counted() -> None:
    from arctic_model.export.validation import Agreement

    agreement = Agreement("e", 1, 0.0, 1.0, 0.0, 1.0, 1.0, 1.0)
    many = record({f"L{number}": 9 - number for number in range(8)})
    assert "L4 (5), 3 more |" in model_card(many, FORMATS["huggingface"], "float32", agreement)


def test_the_card_names_the_command_and_what_it_was_made_from(card: str) -> None:
    assert "arctic replay small.toml --until 'export[hf]'" in card
    assert "train[2]@0123" in card
    assert card.startswith("---\nlibrary_name: transformers\n")
