"""Scores of the checkpoint of one phase, with the samples behind them."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from data_recipes.schema import EvaluateSection
from data_recipes.section import RecipeError
from infra.context import StageContext
from infra.stage import Metrics, Resources, Stage
from infra.store import Artifact
from pipelines.artifacts.checkpoint import HISTORY_FILE, checkpoint_folder
from pipelines.artifacts.documents import HELDOUT
from pipelines.artifacts.report import SAMPLES, SAMPLES_FILE, Score, Scores
from pipelines.artifacts.tokenizer import TextTokenizer
from pipelines.artifacts.tokens import TokenSequences
from pipelines.evaluate import bits_per_byte, text_to_sql
from pipelines.evaluate.heldout import choose_pieces
from pipelines.evaluate.journal import Journal
from pipelines.evaluate.text_to_sql import choose_questions


def stage(
    number: int,
    phase_name: str,
    section: EvaluateSection,
    train: Stage,
    tokenizer: Stage,
    tokens: Mapping[str, Stage],
    questions: Mapping[str, Stage],
) -> Stage:
    """Score the checkpoint of phase `number` on the held-out documents of every corpus of `tokens`, and on the SQL
    questions that the source stages `questions` bring.

    Raises RecipeError where questions are asked and none are brought.
    """
    if section.text_to_sql_questions and not questions:
        raise RecipeError(
            f"evaluate.text_to_sql_questions = {section.text_to_sql_questions}, but no corpus of this run has an "
            "input of kind text_to_sql. Add such a corpus or set 0."
        )
    inputs = {"train": train, "tokenizer": tokenizer}
    inputs |= {f"tokens:{name}": tokens[name] for name in sorted(tokens)}
    if section.text_to_sql_questions:
        inputs |= {f"source:{name}": questions[name] for name in sorted(questions)}
    params = {**section.as_params(), "phase": phase_name}
    work = partial(_evaluate, phase_name, section)
    return Stage("evaluate", str(number), 1, params, inputs, work, Resources(num_cpus=0.5))


def _evaluate(phase: str, section: EvaluateSection, context: StageContext, inputs: Mapping[str, Artifact]) -> Metrics:
    from pipelines.evaluate.scorer import Scorer

    tokenizer = TextTokenizer(inputs["tokenizer"].path)
    scorer = Scorer(checkpoint_folder(inputs["train"].path), tokenizer)
    questions = choose_questions(list(_paths(inputs, "source").values()), section.text_to_sql_questions)
    if len(questions) < section.text_to_sql_questions:
        context.warn(
            f"evaluate.text_to_sql_questions = {section.text_to_sql_questions}, but there are only {len(questions)}: "
            "all are asked. Raise num_heldout_schemas for more."
        )
    with Journal(context.state / "items.jsonl") as journal:
        pieces = {
            name: choose_pieces(TokenSequences(path, HELDOUT), tokenizer.bytes_of_id, section.heldout_bytes_per_corpus)
            for name, path in _paths(inputs, "tokens").items()
        }
        scores = bits_per_byte.measure(scorer, pieces, journal, context)
        samples = text_to_sql.measure(scorer, questions, section.max_new_tokens, journal, context)
    scores |= text_to_sql.accuracy(samples)
    pq.write_table(pa.Table.from_pylist(samples, schema=SAMPLES), context.out / SAMPLES_FILE, compression="zstd")
    last = pq.read_table(inputs["train"].path / HISTORY_FILE, columns=["step", "tokens"]).to_pylist()[-1]
    Scores(phase, last["step"], last["tokens"], scores).write(context.out)
    return _metrics(scores)


def _paths(inputs: Mapping[str, Artifact], kind: str) -> dict[str, Path]:
    """Folders of the inputs `kind:<corpus>` by corpus."""
    prefix = f"{kind}:"
    return {name.removeprefix(prefix): item.path for name, item in inputs.items() if name.startswith(prefix)}


def _metrics(scores: Mapping[str, Score]) -> Metrics:
    metrics: dict[str, float] = {}
    for name, score in scores.items():
        metrics[f"eval/{name}"] = score.value
        metrics[f"eval/{name}.ci_low"] = score.low
        metrics[f"eval/{name}.ci_high"] = score.high
        metrics[f"eval/{name}.n"] = score.n
    return metrics
