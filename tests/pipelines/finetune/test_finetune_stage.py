"""A fine-tune as a stage: it goes on from another checkpoint's weights, learns the marked ids alone, and resumes."""

import json
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from arctic_model.checkpoint.errors import CheckpointError
from arctic_model.checkpoint.reading import Checkpoint
from arctic_model.kernels.fp8_blocks import dequantize_blocks, quantize_blocks
from arctic_model.model import ArcticModel
from arctic_model.presets import preset
from arctic_model.training.lora import read_adapter
from data_recipes.sections.finetuning import FinetuneSection
from data_recipes.sections.training import TrainSection
from infra.context import StageContext
from infra.stage import Stage
from infra.store import file_digest
from pipelines import finetune
from pipelines.artifacts.checkpoint import FINETUNED_FILE, Finetuned, checkpoint_folder
from pipelines.artifacts.sequence_order.phase_plan import CorpusShare, PhasePlan
from pipelines.artifacts.sequence_order.token_rows import read_rows
from pipelines.artifacts.tokenization.tokens import (
    TokenSequences,
    TokensIndex,
    write_token_shard,
    write_trained_marks,
)
from pipelines.finetune.stage import schedule
from tests.kit.files import artifact, digests
from tests.kit.interruption import interrupted_before
from tests.kit.stages import idle_stage
from tests.kit.tokenizers import write_byte_tokenizer

LENGTH, SEQUENCES, BATCH = 16, 24, 4
HELDOUT = 3
"""Pairs, which no whole number of passes holds."""
LORA = {"rank": 4, "alpha": 8.0}
TOKENS = {**LORA, "trained_tokens": ["<|im_start|>", "A"]}
EXPERTS = {**LORA, "targets": ["attention", "experts"], "quantize_base": True}
TRAIN = TrainSection(
    global_batch_sequences=BATCH, micro_batch_sequences=2, peak_lr=0.5, checkpoint_every_steps=2, warmup_tokens=9999
)


class Made(NamedTuple):
    """The folder of a result and its metrics."""

    out: Path
    metrics: Mapping[str, float]


def test_the_first_loss_is_that_of_the_answers_under_the_weights_it_starts_from(workshop: "Workshop") -> None:
    base = workshop.base(seed=7)

    made = workshop.run("tune", base)

    model = ArcticModel.from_pretrained(checkpoint_folder(base))
    plan = PhasePlan.read(workshop.home / "mix")
    corpora, sequences = plan.sequences(0, BATCH)
    rows = read_rows([TokenSequences(workshop.home / "chat", "train")], corpora, sequences)
    ids, positions, segments, targets = map(torch.from_numpy, rows)
    marked = targets >= 0
    with torch.no_grad():
        log_probabilities = model(ids, positions, segments).double().log_softmax(-1)
    expected = -log_probabilities[marked].gather(-1, targets[marked][:, None]).mean()
    history = pq.read_table(made.out / "history.parquet").to_pylist()
    assert history[0]["loss"] == pytest.approx(float(expected), rel=1e-6)
    assert (history[0]["step"], history[0]["tokens"]) == (1, BATCH * LENGTH)
    # Every sequence has 4 marked ids of 17, none of them first in its piece.
    assert int(marked.sum()) == 4 * BATCH


def test_it_says_what_it_is_and_which_weights_it_started_from(workshop: "Workshop") -> None:
    base = workshop.base(seed=7)

    made = workshop.run("tune", base)

    assert Finetuned.read(checkpoint_folder(made.out)) == Finetuned(
        chat=True, objective="sft", method="full", base=file_digest(checkpoint_folder(base) / "checkpoint.json")
    )
    assert json.loads((made.out / FINETUNED_FILE).read_text())["chat"] is True
    assert (made.metrics["steps"], made.metrics["tokens"]) == (6, 6 * BATCH * LENGTH)
    assert Checkpoint(checkpoint_folder(made.out)).verify().state.step == 6


def test_a_fine_tune_goes_on_from_a_fine_tune(workshop: "Workshop") -> None:
    first = workshop.run("first", workshop.base(seed=7))

    second = workshop.run("second", first.out)

    losses = [np.mean(pq.read_table(made.out / "history.parquet")["loss"].to_pylist()[-2:]) for made in (first, second)]
    assert losses[1] < losses[0]
    # Its optimizer starts with fresh state.
    assert Checkpoint(checkpoint_folder(second.out)).state.updates == 6


def test_adapters_alone_are_trained_and_then_merged(workshop: "Workshop") -> None:
    base = workshop.base(seed=7)

    made = workshop.run("tuned", base, LORA)

    how = Finetuned.read(checkpoint_folder(made.out))
    assert how and how.method == "lora"
    lora, tensors = read_adapter(made.out / "adapter", how.base)
    before, after = (Checkpoint(checkpoint_folder(folder)) for folder in (base, made.out))
    name = "model.layers.0.self_attn.q_proj"
    product = tensors[f"{name}.lora_B.weight"] @ tensors[f"{name}.lora_A.weight"]
    assert product.abs().max() > 0
    torch.testing.assert_close(
        after.read(f"{name}.weight"), before.read(f"{name}.weight") + 2.0 * product, atol=1e-6, rtol=1e-5
    )
    untouched = [each for each in before.names if "_proj" not in each and "residual_mlp" not in each]
    assert all(torch.equal(after.read(each), before.read(each)) for each in untouched)
    assert lora.scale == 2.0
    assert made.metrics["adapter_parameters"] == sum(tensor.numel() for tensor in tensors.values())
    assert after.verify().state.step == 6
    # The first loss is that of the base; the last is that of the merged model or better.
    losses = pq.read_table(made.out / "history.parquet")["loss"].to_pylist()
    assert losses[0] == pytest.approx(
        pq.read_table(workshop.run("full", base).out / "history.parquet")["loss"].to_pylist()[0], rel=1e-6
    )
    assert losses[-1] < losses[0]


def test_named_tokens_are_trained_beside_adapters(workshop: "Workshop") -> None:
    base = workshop.base(seed=7)

    made = workshop.run("tuned", base, TOKENS)

    # The token "A" is an id of the conversations, the mark is none: only the head learns to avoid it.
    ids = [workshop.tokenizer.token_to_id(token) for token in TOKENS["trained_tokens"]]
    before, after = (Checkpoint(checkpoint_folder(folder)) for folder in (base, made.out))
    for name, expected in (("model.embed_tokens.weight", ids[1:]), ("lm_head.weight", ids)):
        changed = (after.read(name) != before.read(name)).any(dim=1)
        assert changed.nonzero().flatten().tolist() == sorted(expected)
    how = Finetuned.read(checkpoint_folder(made.out))
    assert how
    lora, tensors = read_adapter(made.out / "adapter", how.base)
    assert lora.tokens == tuple(ids)
    assert torch.equal(tensors["lm_head.trained_tokens.weight"], after.read("lm_head.weight")[ids])
    # They begin as the rows of the base: so does the loss.
    runs = (made, workshop.run("without", base, LORA))
    losses = [pq.read_table(each.out / "history.parquet")["loss"].to_pylist() for each in runs]
    assert losses[0][0] == pytest.approx(losses[1][0], rel=1e-6)
    assert losses[0][-1] < losses[1][-1]


def test_adapters_of_experts_are_trained_beside_a_base_in_fp8(workshop: "Workshop") -> None:
    base = workshop.base(seed=7)

    made = workshop.run("tuned", base, EXPERTS)

    how = Finetuned.read(checkpoint_folder(made.out))
    assert how
    _, tensors = read_adapter(made.out / "adapter", how.base)
    before, after = (Checkpoint(checkpoint_folder(folder)) for folder in (base, made.out))
    expert = "model.layers.0.block_sparse_moe.experts.1"
    b, a = (tensors[f"{expert}.gate_up_lora_{side}.weight"] for side in "BA")
    product = 2.0 * b @ a
    assert product.abs().max() > 0
    for matrix, delta in zip(("w1", "w3"), product.chunk(2), strict=True):
        held = dequantize_blocks(*quantize_blocks(before.read(f"{expert}.{matrix}.weight")))
        torch.testing.assert_close(after.read(f"{expert}.{matrix}.weight"), held + delta, atol=1e-6, rtol=1e-5)
    losses = pq.read_table(made.out / "history.parquet")["loss"].to_pylist()
    assert losses[-1] < losses[0]


@pytest.mark.slow
@pytest.mark.parametrize("lora", [LORA, EXPERTS, TOKENS], ids=["lora", "experts", "tokens"])
@pytest.mark.parametrize("zero_stage", [0, 1, 2])
def test_two_workers_train_the_same_adapters(zero_stage: int, lora: Any, workshop: "Workshop") -> None:
    base = workshop.base(seed=7)
    alone = workshop.run("alone", base, lora)

    together = workshop.run("together", base, lora, num_workers=2, expert_parallel_size=2, zero_stage=zero_stage)

    losses = [pq.read_table(made.out / "history.parquet")["loss"].to_pylist() for made in (alone, together)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


@pytest.mark.parametrize(
    ("lora", "objective"),
    [
        (None, "sft"),
        (None, "dpo"),
        ({**LORA, "dropout": 0.5}, "sft"),
        ({**LORA, "dropout": 0.5}, "dpo"),
        (EXPERTS, "sft"),
        (TOKENS, "sft"),
        (TOKENS, "dpo"),
    ],
)
def test_a_stopped_fine_tune_continues_to_the_same_bytes(lora: Any, objective: str, workshop: "Workshop") -> None:
    base = workshop.base(seed=7)
    expected = workshop.run("once", base, lora, objective)
    # For pairs, each step is read for the log-probabilities of the start, and then to be trained.
    with interrupted_before(5, times=2 if objective == "dpo" else 1):
        workshop.run("stopped", base, lora, objective)
    assert list((workshop.home / "stopped-state" / "checkpoints").iterdir())
    result = workshop.run("stopped", base, lora, objective)

    assert digests(result.out) == digests(expected.out)


@pytest.mark.slow
def test_two_workers_that_share_the_experts_learn_the_same(workshop: "Workshop") -> None:
    base = workshop.base(seed=7)
    alone = workshop.run("alone", base)

    together = workshop.run("together", base, num_workers=2, expert_parallel_size=2)

    losses = [pq.read_table(made.out / "history.parquet")["loss"].to_pylist() for made in (alone, together)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


@pytest.mark.parametrize(
    ("kind", "start", "decay"), [("cosine", 30, "cosine"), ("wsd", 80, "linear")], ids=["cosine", "wsd"]
)
def test_the_schedule_follows_from_the_tokens_of_the_plan(kind: str, start: int, decay: str) -> None:
    section = FinetuneSection.model_validate({**SECTION, "schedule": kind, "warmup_fraction": 0.3})

    assert schedule(section, 100) == {
        "warmup_tokens": 30,
        "decay_start_tokens": start,
        "decay_end_tokens": 100,
        "decay": decay,
    }


OBJECTIVES: Mapping[str, Mapping[str, Any]] = {"sft": {}, "dpo": {"objective": "dpo", "peak_lr": 0.02}}
SECTION = {"name": "instruct", "from": "base", "epochs": {"chat": 1.0}, "peak_lr": 0.003, "warmup_fraction": 0.0}


@pytest.mark.parametrize("lora", [None, LORA], ids=["full", "lora"])
def test_preferred_answers_gain_on_the_others_also_on_pairs_that_are_held_out(lora: Any, workshop: "Workshop") -> None:
    made = workshop.run("preferred", workshop.base(seed=7), lora, "dpo")

    history = pq.read_table(made.out / "history.parquet").to_pylist()
    # Nothing has moved before the first update: the loss is that of a coin.
    assert history[0]["loss"] == pytest.approx(math.log(2), rel=1e-6)
    assert history[0]["margin"] == pytest.approx(0.0, abs=1e-6)
    assert history[-1]["margin"] > 0.001
    assert history[-1]["accuracy"] > 0.5
    assert made.metrics["heldout/margin"] > 0.001
    assert made.metrics["heldout/accuracy"] > 0.5
    assert made.metrics["heldout/pairs"] == HELDOUT
    how = Finetuned.read(checkpoint_folder(made.out))
    assert how and how.objective == "dpo"


def test_rewards_are_how_far_the_result_moved_away_from_its_start(workshop: "Workshop") -> None:
    base = workshop.base(seed=7)
    made = workshop.run("preferred", base, None, "dpo")

    sequences = TokenSequences(workshop.home / "pairs", "heldout")
    rows = read_rows([sequences], np.zeros(HELDOUT, int), np.arange(HELDOUT))
    ids, positions, segments, targets = map(torch.from_numpy, rows)
    rewards = []
    for side in (0, 1):
        answer = (targets >= 0) & (segments == side)
        after, before = (
            ArcticModel.from_pretrained(checkpoint_folder(folder))(ids, positions, segments).double().log_softmax(-1)
            for folder in (made.out, base)
        )
        moved = (after - before).gather(-1, targets.clamp(min=0)[..., None])[answer]
        rewards.append(0.1 * float(moved.sum().detach()) / HELDOUT)
    assert made.metrics["heldout/chosen_reward"] == pytest.approx(rewards[0], rel=1e-4)
    assert made.metrics["heldout/rejected_reward"] == pytest.approx(rewards[1], rel=1e-4)
    assert made.metrics["heldout/margin"] == pytest.approx(rewards[0] - rewards[1], rel=1e-4)


def test_a_fine_tune_that_is_stopped_before_its_first_step_continues(workshop: "Workshop") -> None:
    base = workshop.base(seed=7)
    expected = workshop.run("once", base, None, "dpo")
    # The log-probabilities of the start are being computed.
    with interrupted_before(3):
        workshop.run("stopped", base, None, "dpo")

    result = workshop.run("stopped", base, None, "dpo")

    assert digests(result.out) == digests(expected.out)


def test_a_start_that_is_lost_is_named(workshop: "Workshop") -> None:
    base = workshop.base(seed=7)
    workshop.run("lost", base, None, "dpo")
    shutil.rmtree(workshop.home / "lost-state" / "reference")

    with pytest.raises(CheckpointError, match="Remove .*lost-state to fine-tune again"):
        workshop.run("lost", base, None, "dpo")


@pytest.mark.slow
def test_two_workers_prefer_the_same(workshop: "Workshop") -> None:
    base = workshop.base(seed=7)
    alone = workshop.run("alone", base, None, "dpo")

    together = workshop.run("together", base, None, "dpo", num_workers=2, expert_parallel_size=2)

    for column in ("loss", "margin", "chosen_reward"):
        columns = [pq.read_table(made.out / "history.parquet")[column].to_pylist() for made in (alone, together)]
        assert columns[1] == pytest.approx(columns[0], rel=1e-3, abs=1e-5)
    assert together.metrics["heldout/margin"] == pytest.approx(alone.metrics["heldout/margin"], rel=1e-3)


class Workshop:
    """Runs fine-tunes in `home` on one corpus of packed conversations, and on one of pairs of answers."""

    def __init__(self, home: Path) -> None:
        self.home = home
        write_conversations(home / "chat")
        write_pairs(home / "pairs")
        self.tokenizer = write_byte_tokenizer(home)
        (home / "mix").mkdir()
        PhasePlan.of("instruct", LENGTH, 0, (CorpusShare("chat", SEQUENCES, 0, SEQUENCES),)).write(home / "mix")

    def base(self, seed: int) -> Path:
        """A result that holds a checkpoint of initial weights."""
        folder = self.home / f"base-{seed}"
        ArcticModel(preset("tiny"), seed=seed).save_pretrained(checkpoint_folder(folder))
        return folder

    def run(self, name: str, base: Path, lora: Any = None, objective: str = "sft", **train: Any) -> Made:
        """The output folder, which is new; the state folder stays from attempt to attempt."""
        section = FinetuneSection.model_validate({**SECTION, **OBJECTIVES[objective], "lora": lora})
        needed = [idle_stage(name) for name in ("mix", "tokenize", "train", "tokenizer")]
        inputs = finetune.FinetuneInputs(needed[0], {"chat": needed[1]}, *needed[2:])
        whole = section.train_section(TrainSection.model_validate({**TRAIN.as_params(), **train}))
        stage: Stage = finetune.stage(section, whole, preset("tiny").to_dict(), inputs)
        attempt = len(list(self.home.glob(f"{name}-out-*")))
        out, state = self.home / f"{name}-out-{attempt}", self.home / f"{name}-state"
        out.mkdir()
        state.mkdir(exist_ok=True)
        tokens = self.home / ("pairs" if objective == "dpo" else "chat")
        read = {"mix": self.home / "mix", "tokens:chat": tokens, "base": base}
        read |= {"tokenizer": self.home} if "tokenizer" in stage.inputs else {}
        artifacts = {key: artifact(path) for key, path in read.items()}
        return Made(out, dict(stage.work(StageContext(stage.id, out, state, [].append), artifacts)))


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


def write_conversations(folder: Path) -> None:
    """Sequences of two conversations, in each of which the last two ids are the assistant's, and two ids of padding."""
    rows = np.random.default_rng(0).integers(4, 50, (SEQUENCES, LENGTH + 1)).astype(np.uint16)
    rows[:, -2:] = 1
    ends = (9, LENGTH - 1)
    pieces = {
        "sequence": np.repeat(np.arange(SEQUENCES), 2),
        "start": [0, ends[0]] * SEQUENCES,
        "length": [ends[0], ends[1] - ends[0]] * SEQUENCES,
        "doc_id": ["a", "b"] * SEQUENCES,
        "doc_start": [0, 0] * SEQUENCES,
        "doc_row": [0, 1] * SEQUENCES,
    }
    marks = np.zeros(rows.shape, bool)
    for end in ends:
        marks[:, end - 2 : end] = True
    write_token_shard(rows, pa.table(pieces), folder, "train", 0)
    write_trained_marks([marks], folder, "train", 0)
    sizes = {"train": [SEQUENCES]}, {"train": 1}, {"train": 1}
    TokensIndex(LENGTH, "uint16", 384, 0, 1, *sizes, marks_trained=True).write(folder)


def write_pairs(folder: Path) -> None:
    """Sequences of one pair, of which 8 ids are the prompt: an answer of small ids is chosen, one of large rejected."""
    random = np.random.default_rng(1)
    side = LENGTH // 2
    for split, count in (("train", SEQUENCES), ("heldout", HELDOUT)):
        rows = random.integers(4, 50, (count, LENGTH + 1)).astype(np.uint16)
        rows[:, side : 2 * side] = rows[:, :side]
        rows[:, side - 2 : side] = random.integers(60, 64, (count, 2))
        rows[:, 2 * side - 2 : 2 * side] = random.integers(80, 84, (count, 2))
        marks = np.zeros(rows.shape, bool)
        marks[:, [side - 2, side - 1, 2 * side - 2, 2 * side - 1]] = True
        pieces = {
            "sequence": np.repeat(np.arange(count), 2),
            "start": [0, side] * count,
            "length": [side, side] * count,
            "doc_id": np.repeat([str(number) for number in range(count)], 2),
            "doc_start": [0, side] * count,
            "doc_row": np.repeat(np.arange(count), 2),
        }
        write_token_shard(rows, pa.table(pieces), folder, split, 0)
        write_trained_marks([marks], folder, split, 0)
    sizes = {"train": [SEQUENCES], "heldout": [HELDOUT]}, {"train": 1, "heldout": 1}, {"train": 1, "heldout": 1}
    TokensIndex(LENGTH, "uint16", 384, 0, 1, *sizes, marks_trained=True, pairs=True).write(folder)
