"""A small model trained at 256 tokens and extended to 2,048, with a larger base (ABF) and with YaRN.

python benchmarks/long_context.py [--quick]

A dense model first reads repetitions of 64 tokens, from which it learns to copy, then repetitions, notes and source
code of 256, at a constant rate. The contenders go on from that checkpoint in steps of half as many tokens while the
rate falls from .7 of that (WSD), with the same number of tokens, 5 % of those before: one at 256, the others at 2,048,
where some rows are eight of the short sequences. Passkeys and the text that hides them are those of the suite
long_context.
"""

import math
import random
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.distributed as dist
from harness import arguments, machine, report
from long_context_mixtures import FIRST, LONG, SHORT, STEP_TOKENS, Drawn, Mixture, Sequences, mixture
from long_context_texts import NOTE_SHARES, library, note, vocabulary_texts

from arctic_model.checkpoint.model_folder import checkpoint_name
from arctic_model.config import ArcticConfig
from arctic_model.model import ArcticModel
from arctic_model.presets import preset
from arctic_model.training import history
from arctic_model.training.loop import train
from arctic_model.training.losses.cross_entropy import token_nll
from arctic_model.training.optimization.schedule import Schedule
from arctic_model.training.optimization.settings import Optimization
from arctic_model.training.plan import TrainingPlan
from arctic_model.training.saving import CHECKPOINTS
from pipelines.artifacts.tokenization.tokenizer import TextTokenizer
from pipelines.evaluate.data.heldout import position_buckets
from pipelines.evaluate.tasks.long_context.texts import passkey
from pipelines.tokenize.pack_texts import train_tokenizer

LENGTHS = FIRST, SHORT, LONG
FACTOR = LONG // SHORT
VOCABULARY = 1024
PEAK, WARMUP_STEPS, FINAL_FRACTION = 0.01, 100, 0.02
LAST_PEAK, LAST_STEP_TOKENS = 0.007, LONG
"""Of the last part: a row of LONG in each step, so that there are twice as many steps."""
SHAPE = {
    "num_layers": 2,
    "num_experts": 0,
    "hidden_size": 64,
    "num_heads": 4,
    "num_kv_heads": 4,
    "head_size": 32,
    "tied_head": True,
}
THETA = 80_000.0
TURNS, SHARPNESS = 4.0, 1.25
"""Of YaRN: pairs that turn more often within SHORT stay as they are, and the factor of cosine and sine. The paper's 32
turns are a wavelength of 8 tokens here."""
WORKERS = 2
GOAL = "passkey >= .95 at every depth of 2,048 tokens with <= 5 % more tokens, loss at 256 within +0.5 % of before"


class Size(NamedTuple):
    """How much is trained and asked."""

    first_steps: int
    short_steps: int
    num_texts: int
    depths: Sequence[float]
    items: int
    items_of_contrast: int
    heldout_tokens: int

    @property
    def base_steps(self) -> int:
        return self.first_steps + self.short_steps

    @property
    def base_tokens(self) -> int:
        return self.base_steps * STEP_TOKENS

    @property
    def extra_steps(self) -> int:
        return self.base_tokens // 20 // LAST_STEP_TOKENS


WHOLE = Size(500, 1500, 6000, [tenth / 10 for tenth in range(11)], 60, 20, 131_072)
QUICK = Size(20, 20, 100, [0.0, 0.5, 1.0], 2, 1, 16_384)


@dataclass(frozen=True)
class Contender:
    """How the last part is trained: at which length, with which positions; not at all if there is no length."""

    name: str
    length: int | None
    config: ArcticConfig


class Outcome(NamedTuple):
    """Nats per token of held-out sequences of SHORT, bits per byte by the end of their bucket of positions in sequences
    of LONG, and shares of passkeys by the tokens of a text and the depth."""

    short_loss: float
    bits: Mapping[int, float]
    passkeys: Mapping[int, Mapping[float, float]]

    def worst(self, length: int) -> float:
        """Share of passkeys at the worst depth of texts of `length` tokens."""
        return min(self.passkeys[length].values())


@dataclass(frozen=True)
class Exam:
    """Questions for every contender: passkeys as ids of prompt and answer, by length and depth, and held-out code and
    notes."""

    passkeys: Mapping[int, Mapping[float, Sequence[tuple[list[int], list[int]]]]]
    short: Sequence[Sequences]
    long: Sequences


def main() -> None:
    size = QUICK if arguments(__doc__.splitlines()[0]).quick else WHOLE
    contenders = contenders_of(model_config(SHORT))
    with tempfile.TemporaryDirectory() as name, ProcessPoolExecutor(WORKERS, mp_context=get_context("spawn")) as pool:
        base = Path(name)
        train_tokenizer(vocabulary_texts(), VOCABULARY, base / "tokenizer")
        made = [pool.submit(mixture, base / "tokenizer", length, size.num_texts) for length in LENGTHS]
        exam = pool.submit(exam_of, base, size)
        mixtures = {length: each.result() for length, each in zip(LENGTHS, made, strict=True)}
        list(pool.map(trained_at_256, [base] * WORKERS, [size] * WORKERS, [mixtures] * WORKERS, range(WORKERS)))
        asked = [size.items_of_contrast] * (len(contenders) - 1) + [size.items]
        # The last one takes longest, so it starts first.
        futures = [
            pool.submit(extended, base, size, each, mixtures, exam.result(), count)
            for each, count in zip(reversed(contenders), reversed(asked), strict=True)
        ]
        outcomes = [future.result() for future in reversed(futures)]
    print(machine("torch"))
    more = size.extra_steps * LAST_STEP_TOKENS / size.base_tokens
    print(f"{size.base_tokens:,} tokens up to {SHORT}, then {more:.1%} more\n")
    print_table(contenders, outcomes, size)
    worst = {each.name: outcome.worst(LONG) for each, outcome in zip(contenders, outcomes, strict=True)}
    name, ours = worst.popitem()
    change = outcomes[-1].short_loss / outcomes[0].short_loss
    report(f"long context: {name}", ours, worst, f"passkeys at the worst depth of {LONG} tokens", change, GOAL)


def print_table(contenders: Sequence[Contender], outcomes: Sequence[Outcome], size: Size) -> None:
    ends = [bucket.stop for bucket in position_buckets(LONG)]
    print(
        f"Passkeys found in {LONG:,} tokens by depth, and in {SHORT} at the worst, percent of {size.items} texts in the"
    )
    print(f"last row and {size.items_of_contrast} in the others\n")
    print(f"| trained on | {' | '.join(f'{depth:g}' for depth in size.depths)} | in {SHORT} |")
    print(f"|---|{'---|' * (len(size.depths) + 1)}")
    for each, outcome in zip(contenders, outcomes, strict=True):
        shares = [*outcome.passkeys[LONG].values(), outcome.worst(SHORT)]
        print(f"| {each.name} | {' | '.join(f'{100 * share:.0f}' for share in shares)} |")
    print(f"\nBits per byte by position in held-out documents, and nats per token of sequences of {SHORT}\n")
    before, further = (outcome.short_loss for outcome in outcomes[:2])
    columns = [*(f"to {end:,}" for end in ends), f"at {SHORT}", "to before", f"to {contenders[1].name}"]
    print(f"| trained on | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}")
    for each, outcome in zip(contenders, outcomes, strict=True):
        loss, bits = outcome.short_loss, " | ".join(f"{outcome.bits[end]:.3f}" for end in ends)
        print(f"| {each.name} | {bits} | {loss:.4f} | {loss / before - 1:+.2%} | {loss / further - 1:+.2%} |")
    print()


# ---------------------------------------------------------------- training


def model_config(length: int) -> ArcticConfig:
    return preset("quickstart", {**SHAPE, "vocab_size": VOCABULARY, "max_positions": length})


def contenders_of(config: ArcticConfig) -> list[Contender]:
    """The first is the model before the extension, and the one that the others are compared with."""
    longer = replace(config, max_positions=LONG)
    return [
        Contender(f"{SHORT}", None, config),
        Contender(f"{SHORT}, longer", SHORT, config),
        Contender(f"{LONG:,}, ABF", LONG, replace(longer, rope_theta=THETA)),
        Contender(f"{LONG:,}, YaRN", LONG, with_yarn(longer)),
    ]


def with_yarn(config: ArcticConfig) -> ArcticConfig:
    return replace(
        config,
        yarn_factor=float(FACTOR),
        yarn_original_positions=SHORT,
        yarn_beta_fast=TURNS,
        yarn_attention_factor=SHARPNESS,
    )


def trained_at_256(base: Path, size: Size, mixtures: Mapping[int, Mixture], rank: int) -> None:
    """Both parts before the extension, by one of WORKERS processes on a core each."""
    dist_start(dist.FileStore(str(base / "workers"), WORKERS), rank)
    first = plan_of(base / "first", model_config(SHORT), FIRST, size, (0, size.first_steps))
    train(first, Drawn(mixtures[FIRST], FIRST, STEP_TOKENS, rank), Silent())
    start = first.folder / CHECKPOINTS / checkpoint_name(size.first_steps)
    short = plan_of(base / "short", model_config(SHORT), SHORT, size, (size.first_steps, size.base_steps), start)
    train(short, Drawn(mixtures[SHORT], SHORT, STEP_TOKENS, rank), Silent())
    dist.destroy_process_group()


def extended(
    base: Path, size: Size, contender: Contender, mixtures: Mapping[int, Mixture], exam: Exam, num_asked: int
) -> Outcome:
    """The last part of one contender, and its measures, on one core; of the passkeys the first `num_asked`."""
    checkpoint = base / "short" / CHECKPOINTS / checkpoint_name(size.base_steps)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        if contender.length:
            batches = mixtures[contender.length]
            checkpoint = trained_further(size, contender, batches, checkpoint, Path(name) / "long")
        model = ArcticModel.from_pretrained(checkpoint).eval()
    return Outcome(
        short_loss(model, exam.short, size.heldout_tokens),
        bits_by_position(model, exam.long, TextTokenizer(base / "tokenizer"), size.heldout_tokens),
        {
            length: {depth: passkeys_found(model, texts[:num_asked]) for depth, texts in by_depth.items()}
            for length, by_depth in exam.passkeys.items()
        },
    )


def trained_further(size: Size, contender: Contender, batches: Mixture, start: Path, folder: Path) -> Path:
    """The checkpoint in `folder` after the last part."""
    assert contender.length
    steps = size.base_steps, size.base_steps + size.extra_steps
    dist_start(dist.HashStore(), 0)
    schedule = Schedule(LAST_PEAK, FINAL_FRACTION, 0, size.base_tokens, end_of(size))
    plan = replace(
        plan_of(folder, contender.config, contender.length, size, steps, start),
        schedule=schedule,
        tokens_per_step=LAST_STEP_TOKENS,
    )
    train(plan, Drawn(batches, contender.length, LAST_STEP_TOKENS), Silent())
    dist.destroy_process_group()
    return plan.folder / CHECKPOINTS / checkpoint_name(steps[1])


def end_of(size: Size) -> int:
    """Tokens of all parts."""
    return size.base_tokens + size.extra_steps * LAST_STEP_TOKENS


def dist_start(store: dist.Store, rank: int) -> None:
    torch.set_num_threads(1)
    world = WORKERS if isinstance(store, dist.FileStore) else 1
    dist.init_process_group("gloo", store=store, rank=rank, world_size=world)


def plan_of(
    folder: Path, config: ArcticConfig, length: int, size: Size, steps: tuple[int, int], start: Path | None = None
) -> TrainingPlan:
    """The steps after the first of `steps`, whose checkpoint is `start`, to the last, on rows of `length` tokens."""
    folder.mkdir(exist_ok=True)
    return TrainingPlan(
        config=config,
        optimization=Optimization(optimizer="muon", engine="flat", zero_stage=0, weight_decay=0.0),
        schedule=Schedule(PEAK, FINAL_FRACTION, WARMUP_STEPS * STEP_TOKENS, size.base_tokens, end_of(size)),
        first_step=steps[0],
        last_step=steps[1],
        first_tokens=steps[0] * STEP_TOKENS,
        sequence_length=length,
        tokens_per_step=STEP_TOKENS,
        num_micro_batches=1,
        checkpoint_every_steps=steps[1] - steps[0],
        expert_parallel_size=1,
        folder=folder,
        start_from=start,
    )


class Silent:
    """An observer that reports nothing."""

    def stepped(self, step: int, seconds: float) -> None: ...

    def recorded(self, records: Sequence[history.Record]) -> None: ...

    def saving(self) -> None: ...

    def traced(self, file: Path) -> None: ...


def exam_of(base: Path, size: Size) -> Exam:
    tokenizer, code = TextTokenizer(base / "tokenizer"), library(held_out=True).files
    notes = [note(random.Random(f"held out/{number}"), 4 * SHORT, NOTE_SHARES) for number in range(100)]
    passkeys = {
        length: {
            depth: [passkey_ids(tokenizer, length, depth, number) for number in range(size.items)]
            for depth in size.depths
        }
        for length in (SHORT, LONG)
    }
    return Exam(
        passkeys, [Sequences(texts, tokenizer, SHORT) for texts in (code, notes)], Sequences(code, tokenizer, LONG)
    )


# ---------------------------------------------------------------- measures


@torch.inference_mode()
def short_loss(model: ArcticModel, corpora: Sequence[Sequences], num_tokens: int) -> float:
    """Nats per token of sequences of SHORT, the corpora in equal parts."""
    losses = []
    for sequences in corpora:
        rows = spread(np.arange(len(sequences.ids)), num_tokens // SHORT // len(corpora))
        nats, count = 0.0, 0
        for part in np.array_split(rows, max(1, len(rows) // 16)):
            batch = sequences.batch(part)
            terms = token_nll(model(batch.ids, batch.positions, batch.segments), batch.targets)
            nats, count = nats + float(terms.sum()), count + batch.num_predicted
        losses.append(nats / count)
    return sum(losses) / len(losses)


@torch.inference_mode()
def bits_by_position(
    model: ArcticModel, sequences: Sequences, tokenizer: TextTokenizer, num_tokens: int
) -> dict[int, float]:
    """Bits per byte by the end of each bucket, over documents that fill a sequence of LONG."""
    buckets = position_buckets(LONG)
    bits, sizes = np.zeros(len(buckets)), np.zeros(len(buckets))
    for row in spread(sequences.full, num_tokens // LONG):
        batch = sequences.batch(np.array([row]))
        nats = token_nll(model(batch.ids, batch.positions, batch.segments), batch.targets)[0]
        widths = tokenizer.bytes_of_id[batch.targets[0].numpy()]
        bits += [float(nats[bucket].sum()) / math.log(2) for bucket in buckets]
        sizes += [widths[bucket].sum() for bucket in buckets]
    return {bucket.stop: value for bucket, value in zip(buckets, bits / sizes, strict=True)}


@torch.inference_mode()
def passkeys_found(model: ArcticModel, texts: Sequence[tuple[list[int], list[int]]]) -> float:
    """Share of prompts after which greedy decoding writes the answer: each of its ids is the most likely one behind
    those before."""
    result = 0
    for prompt, answer in texts:
        ids = torch.tensor([[*prompt, *answer[:-1]]])
        hidden = model.hidden_states(ids, torch.arange(ids.shape[1])[None], torch.zeros_like(ids)).hidden
        best = model.lm_head(hidden[0, -len(answer) :]).argmax(dim=-1)
        result += best.tolist() == answer
    return result / len(texts)


def passkey_ids(tokenizer: TextTokenizer, length: int, depth: float, number: int) -> tuple[list[int], list[int]]:
    """The longest text with this passkey that fits into `length` tokens, and the ids of the passkey."""
    num_bytes = 8 * length
    while True:
        puzzle = passkey(num_bytes, depth, random.Random(f"held out/{depth}/{number}"))
        prompt = [tokenizer.end_id, *tokenizer.encode(f"{puzzle.text}\n{puzzle.question}")]
        answer = tokenizer.encode(f" {puzzle.answers[0]}")
        if (excess := len(prompt) + len(answer) - length) <= 0:
            return prompt, answer
        num_bytes -= max(16, excess)


def spread(rows: np.ndarray, count: int) -> np.ndarray:
    """`count` of the rows at equal distances, or all."""
    selected: np.ndarray = rows[np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(int)]
    return selected


if __name__ == "__main__":
    main()
