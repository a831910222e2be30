"""A whole run in small: artifacts of every stage, written by the artifacts' own writers, without running a stage."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infra.artifact import Artifact, Manifest
from pipelines.artifacts.checkpoint import EXPERT_LOAD, EXPERT_LOAD_FILE, HISTORY, HISTORY_FILE, THROUGHPUT, WorkerHours
from pipelines.artifacts.documents import DECISIONS, FILTERED, Document, write_documents, write_shard
from pipelines.artifacts.duplicates import CLUSTERS, write_alarms, write_clusters
from pipelines.artifacts.evaluation import (
    EVIDENCE,
    EVIDENCE_FILE,
    SAMPLES,
    SAMPLES_FILE,
    Contamination,
    Difference,
    Score,
    Scores,
    write_differences,
)
from pipelines.artifacts.scores import SCORES
from pipelines.artifacts.sequence_order.phase_plan import CorpusShare, PhasePlan, seek_table

CORPORA = ("python_code", "python_docs", "text_to_sql")
PHASES = {"general": (60, 30, 10), "code": (45, 25, 30), "enterprise": (35, 10, 55)}
STEPS = 120
LENGTH = 512
BATCH = 16
MODEL = {"num_layers": 4, "hidden_size": 128, "num_experts": 8, "top_k": 2, "vocab_size": 2048}
TRAIN = {"peak_lr": 0.01, "optimizer": "muon", "weight_decay": 0.1, "global_batch_sequences": BATCH, "dtype": "float32"}


class SmallRun:
    """Artifacts by stage id; `folder` holds their files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.artifacts: dict[str, Artifact] = {}
        self.rng = np.random.default_rng(0)

    def add(
        self, name: str, subject: str, inputs: list[str], metrics: dict[str, float] | None = None, **more: Any
    ) -> Path:
        stage_id = f"{name}[{subject}]" if subject else name
        path = self.folder / stage_id
        path.mkdir(parents=True)
        manifest = Manifest(
            id=stage_id,
            name=name,
            subject=subject,
            key=f"{len(self.artifacts):012x}"[::-1],
            version=1,
            params=more.get("params", {}),
            inputs={upstream: self.artifacts[upstream].manifest.key for upstream in inputs},
            files=(),
            metrics=metrics or {},
            quarantined=more.get("quarantined", ()),
            seconds=round(3 + 40 * self.rng.random(), 3),
            provenance={
                "python": "3.11.7",
                "git": {"commit": "0123abcdef99", "dirty": False},
                "packages": {"torch": "2.13.0", "ray": "2.60.0"},
                "warnings": more.get("warnings", []),
                "measured": more.get("measured", {}),
            },
        )
        self.artifacts[stage_id] = Artifact(path, manifest)
        return path


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> SmallRun:
    run = SmallRun(tmp_path_factory.mktemp("store"))
    for number, corpus in enumerate(CORPORA):
        add_corpus(run, corpus, 60 + 90 * number)
    both = [f"{stage}[{corpus}]" for corpus in CORPORA for stage in ("source", "dedup")]
    run.add("tokenizer", "", both)
    for corpus in CORPORA:
        inputs = ["tokenizer", f"source[{corpus}]", f"dedup[{corpus}]"]
        metrics = {"train_tokens": 123456, "heldout_tokens": 2345, "bytes_per_token": 3.21, "packed_fraction": 0.9876}
        run.add("tokenize", corpus, inputs, {f"data/{name}": value for name, value in metrics.items()})
    starts = dict.fromkeys(CORPORA, 0)
    for number, (phase, budgets) in enumerate(PHASES.items(), start=1):
        add_phase(run, number, phase, budgets, starts)
    return run


def share(n: int) -> float:
    """Of the visible text of page `n`: hardly any on the large site, some elsewhere."""
    return 0.02 if "Big.example" in address(n) else 0.4 + 0.01 * (n % 10)


def add_corpus(run: SmallRun, corpus: str, documents: int) -> None:
    reasons = ["", "", "", "", "min_words", "languages", "", "near", "", "exact"]
    quarantined = ({"origin": f"{corpus}.warc.gz:1{n}", "reason": f"truncated <record>: {n} bytes"} for n in range(2))
    skipped = {"data/skipped_http_status": 7, "data/skipped_not_html": 0}
    source = run.add("source", corpus, [], skipped, quarantined=tuple(quarantined))
    texts = [
        Document(
            "word " * (20 + 7 * (n % 11)) + f"<b>{n}</b> ann@example.org",
            address(n),
            corpus,
            extractor="second choice: main content" if n % 8 == 2 else "resiliparse",
            licence="CC0-1.0" if n % 4 == 0 else None,
            attributes=None if n % 5 == 4 else json.dumps({"kept_share": share(n), "page_type": "article"}),
        )
        for n in range(documents)
    ]
    shards = [slice(0, documents // 3), slice(documents // 3, documents)]
    for number, shard in enumerate(shards):
        write_documents(texts[shard], source, number)
    scores = pa.table([score_column(field, texts) for field in SCORES], schema=SCORES)
    score = run.add("score", corpus, [f"source[{corpus}]"])
    fates = [reasons[n % len(reasons)] for n in range(documents)]
    passed = [fate in ("", "near", "exact") for fate in fates]
    filtered = {
        "doc_id": [text.doc_id for text in texts],
        "keep": passed,
        "reason": ["" if keep else fate for keep, fate in zip(passed, fates, strict=True)],
        "quality": [0.0] * documents,
        "redactions": [[{"start": len(text.text) - 15, "end": len(text.text), "kind": "email"}] for text in texts],
    }
    limits = {"min_words": 41, "max_words": 100_000, "max_bullet_lines_fraction": 1.0, "max_code_lines_fraction": 0.6}
    filter_ = run.add("filter", corpus, [f"source[{corpus}]", f"score[{corpus}]"], params=limits)
    decisions = [
        {
            "doc_id": text.doc_id,
            "keep": not fate,
            "reason": "" if not fate else f"{fate}_duplicate" if keep else "filter",
            "cluster_size": 2 if fate in ("near", "exact") else 1 + (n % 10 == 0) + 5 * (n % 70 == 8),
        }
        for n, (text, fate, keep) in enumerate(zip(texts, fates, passed, strict=True))
    ]
    dedup = run.add("dedup", corpus, [f"source[{corpus}]", f"filter[{corpus}]"])
    decided = pa.Table.from_pylist(decisions, schema=DECISIONS)
    for number, shard in enumerate(shards):
        part = (shard.start, shard.stop - shard.start)
        write_shard(scores.slice(*part), score / "scores", number)
        write_shard(pa.table(filtered, schema=FILTERED).slice(*part), filter_ / "filtered", number)
        write_shard(decided.slice(*part), dedup / "decisions", number)
    write_clusters(CLUSTERS.empty_table(), dedup)
    write_alarms([], dedup)


def score_column(field: pa.Field, texts: list[Document]) -> pa.Array:
    """A column of SCORES: words and languages of the documents, and the same for all in the others."""
    if field.name == "text_bytes":
        return pa.array([len(text.text) for text in texts], field.type)
    if field.name == "words":
        return pa.array([len(text.text.split()) for text in texts], field.type)
    if field.name == "language":
        return pa.array(["en" if n % 3 else "cy" for n in range(len(texts))], field.type)
    if field.name == "mean_word_length":
        return pa.nulls(len(texts), field.type)
    return pa.array([texts[0].doc_id if pa.types.is_string(field.type) else 0] * len(texts)).cast(field.type)


def address(number: int) -> str:
    """Most documents have a domain, some of them one that many share."""
    if number % 9 == 0:
        return f"repo:name/{number}.py"
    return f"https://www.d{number % 25}.example:8080/{number}" if number % 2 else f"http://Big.example/{number}"


def add_phase(run: SmallRun, number: int, phase: str, percents: tuple[int, ...], starts: dict[str, int]) -> None:
    tokens = [f"tokenize[{corpus}]" for corpus in CORPORA]
    earlier = [f"mix[{number - 1}]"] if number > 1 else []
    budgets = [STEPS * BATCH * percent // 100 for percent in percents]
    shares = tuple(
        CorpusShare(corpus, budget, starts[corpus], 1500) for corpus, budget in zip(CORPORA, budgets, strict=True)
    )
    for share in shares:
        starts[share.corpus] += share.budget
    epochs = {f"data/epochs_{share.corpus}": (share.start + share.budget) / 1500 for share in shares}
    mix = run.add("mix", str(number), tokens + earlier, epochs)
    PhasePlan(phase, LENGTH, 0, shares, seek_table(budgets)).write(mix)
    earlier = [f"train[{number - 1}]"] if number > 1 else []
    hours = WorkerHours(0.25 * number, 0.05, 0.01).metrics()
    trained = {"parameters": 2e6, "active_parameters": 1e6, "steps": STEPS, "tokens": STEPS * BATCH * LENGTH}
    train = run.add(
        "train",
        str(number),
        [f"mix[{number}]", *tokens, *earlier],
        hours | trained,
        params={"model": MODEL, "train": TRAIN, "schedule": {"warmup_tokens": 65_536}},
        warnings=["layer 2: an expert starves"],
        measured={THROUGHPUT: [[STEPS * BATCH * LENGTH * number - n * 1000, 9000.0 + n] for n in range(5, 0, -1)]},
    )
    write_training(run, train, number)
    questions = [f"source[{CORPORA[-1]}]"]
    evaluate = run.add("evaluate", str(number), [f"train[{number}]", "tokenizer", *tokens, *questions])
    write_scores(evaluate, phase, number)


def write_training(run: SmallRun, train: Path, number: int) -> None:
    steps = np.arange(1, STEPS + 1) + STEPS * (number - 1)
    read = {field.name: [losses(step) for step in range(STEPS)] for field in HISTORY if field.name == "loss_by_corpus"}
    columns = {
        "step": steps,
        "tokens": steps * BATCH * LENGTH,
        "loss": 1.2 + 7 / np.sqrt(steps) + 0.08 * run.rng.standard_normal(STEPS),
        **{field.name: blank(field.type) for field in list(HISTORY)[3:]},
        **read,
    }
    pq.write_table(pa.table(columns, schema=HISTORY), train / HISTORY_FILE)
    load = run.rng.dirichlet(np.full(8, 20.0 * number), size=4)
    layer, expert = np.indices(load.shape).reshape(2, -1)
    pq.write_table(
        pa.table({"layer": layer, "expert": expert, "share": load.ravel()}, schema=EXPERT_LOAD),
        train / EXPERT_LOAD_FILE,
    )


def losses(step: int) -> list[tuple[str, float]]:
    """Loss of the corpora that a step reads: every third reads no code."""
    return [(corpus, 3.0 - 0.5 * n) for n, corpus in enumerate(CORPORA) if n or step % 3]


def blank(kind: pa.DataType) -> pa.Array:
    """A column that the page does not read."""
    value: Any = [] if pa.types.is_map(kind) else 0 if pa.types.is_integer(kind) else 0.1
    return pa.array([value] * STEPS, kind)


def accuracy_measures(number: int) -> tuple[str, str]:
    """Of a question: the headline, and the one of its difficulty."""
    return "execution_accuracy", f"execution_accuracy/{('easy', 'medium', 'extra')[number % 3]}"


def write_scores(evaluate: Path, phase: str, number: int) -> None:
    scores = {}
    for index, corpus in enumerate(CORPORA):
        value = (2.4 - 0.4 * index) / math.sqrt(number)
        scores[f"bits_per_byte/{corpus}"] = Score(value, 31, value - 0.05, value + 0.05)
    right = 6 * (number - 1)
    accuracy = "text_to_sql/execution_accuracy"
    for index, level in enumerate(("easy", "medium", "extra")):
        value = (number - 1) / 4 / (index + 1)
        scores[f"{accuracy}/{level}"] = Score(value, 13, max(0.0, value - 0.1), value + 0.1, 0.0)
    scores[accuracy] = Score(right / 40, 40, max(0.0, right / 40 - 0.1), right / 40 + 0.1, 0.0)
    scores["piqa/acc"] = Score(0.55, 100, 0.45, 0.65, 0.5)
    scores["piqa/acc/clean"] = Score(0.5312, 96, 0.43, 0.63, 0.5)
    scores["enterprise_intelligence"] = Score(0.05 * number, 2138, 0.05 * number - 0.02, 0.05 * number + 0.02)
    Scores(
        phase,
        STEPS * number,
        STEPS * number * BATCH * LENGTH,
        scores,
        headlines={"text_to_sql": "execution_accuracy", "piqa": "acc"},
        protocols={"text_to_sql": "0-shot, <greedy>", "piqa": "0-shot"},
        skipped={"race": "race/test.jsonl: missing. Bring it there by hand"},
        contamination={"text_to_sql": Contamination(40, 0, 0), "piqa": Contamination(100, 100, 4)},
        active_parameters=10**6,
    ).write(evaluate)
    changes = {
        accuracy: Difference(0.15, 0.05, 0.25, 0.001, 0.002, 40),
        f"bits_per_byte/{CORPORA[0]}": Difference(-0.001, -0.004, 0.002, 0.4, None, 31),
    }
    write_differences(changes if number > 1 else {}, evaluate)
    samples = [
        {
            "task": "text_to_sql",
            "item_id": f"q{n:03}",
            "cluster": "",
            "prompt": f"CREATE TABLE pets (id INTEGER, name TEXT, age INTEGER);\n\n-- Who is <older> than {n}?\n",
            "gold": f"SELECT name FROM pets WHERE age > {n}",
            "answer": f"SELECT name FROM pets WHERE age > {n}" if n < right else "SELECT nam FROM pets",
            "correct": n < right,
            "verdict": "correct" if n < right else "error: no such column: nam",
            "shares": json.dumps({measure: [float(n < right), 1.0] for measure in accuracy_measures(n)}),
            "contamination": None,
            "responses": "[]",
        }
        for n in range(40)
    ]
    (evaluate / SAMPLES_FILE).parent.mkdir()
    pq.write_table(pa.Table.from_pylist(samples, schema=SAMPLES), evaluate / SAMPLES_FILE)
    evidence = [
        {
            "task": "piqa",
            "item_id": f"piqa/{n:05}",
            "corpus": CORPORA[1],
            "doc_id": f"{n:032x}",
            "field": "goal",
            "share": 0.7 + 0.1 * n,
            "excerpt": f"To open a <jar> of {n} pickles, turn the lid.",
        }
        for n in range(4)
    ]
    pq.write_table(pa.Table.from_pylist(evidence, schema=EVIDENCE), evaluate / EVIDENCE_FILE)
    assert json.loads((evaluate / "scores.json").read_text())["phase"] == phase
