"""One worker of a test's training runs: `train_worker.py RANK WORLD RENDEZVOUS JOBS`, JOBS being a JSON file.

Each job trains the tiny model on random ids that depend on the step alone. Worker 0 writes losses.json next to the
job's checkpoints. `kill_at` makes the last worker kill itself (SIGKILL) when it is asked for that step's batch,
`spoiled` spoils one sequence of given steps' data, `left_out` leaves given steps' data out. A job with `gradients`
trains nothing: it writes one step's gradients, of each of the workers or of one process; or, if those of every pass are
known, the error of their sum over passes and workers against float64.
"""

import json
import os
import signal
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from safetensors.torch import save_file
from torch import Tensor

from arctic_model.checkpoint.tensors.names import unstacked
from arctic_model.layers.attention import document_mask
from arctic_model.model import ArcticModel
from arctic_model.presets import preset
from arctic_model.training import loop
from arctic_model.training.engine import Engine
from arctic_model.training.engine.flat import FlatBackend
from arctic_model.training.loop import TrainingError, train
from arctic_model.training.losses.objective import Batch, Scale, training_loss
from arctic_model.training.optimization.schedule import Schedule
from arctic_model.training.optimization.settings import Optimization
from arctic_model.training.plan import TrainingPlan
from arctic_model.training.spikes import SpikePolicy

SPOILS = {"spike": 61, "gradient": 62, "loss": 63}
"""Ids that no other data has, by their effect: a huge gradient, a gradient of NaN, and a loss of NaN."""
SEQUENCES, LENGTH = 4, 16
LONGEST_BIAS = document_mask.LONGEST_BIAS
CORPORA = ("prose", "code")
"""The first two sequences of a step, and the last two."""


def main() -> None:
    rank, world = int(sys.argv[1]), int(sys.argv[2])
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{sys.argv[3]}", rank=rank, world_size=world)
    writers = {"workers": write_gradients, "one process": write_reference, "known": write_errors}
    for job in json.loads(Path(sys.argv[4]).read_text(encoding="utf-8")):
        document_mask.LONGEST_BIAS = job.get("longest_bias", LONGEST_BIAS)
        writers.get(job.get("gradients"), run)(job, rank, world)
    dist.barrier()
    dist.destroy_process_group()


def run(job: dict, rank: int, world: int) -> None:
    folder = Path(job["folder"])
    context = job.get("context", 1)
    micro = job.get("micro", SEQUENCES * context // world)
    plan = TrainingPlan(
        config=preset("tiny", job.get("model")),
        optimization=optimization(job),
        schedule=Schedule(peak_lr=0.003, warmup_tokens=SEQUENCES * LENGTH * 2),
        first_step=0,
        last_step=job["steps"],
        sequence_length=LENGTH,
        tokens_per_step=SEQUENCES * LENGTH,
        num_micro_batches=SEQUENCES * context // (world * micro),
        checkpoint_every_steps=4,
        expert_parallel_size=job.get("experts", 1),
        context_parallel_size=context,
        folder=folder,
        corpora=CORPORA,
        spikes=SpikePolicy(factor=5.0, window=4, max_skipped=3),
    )
    observer = Recorder()

    def batches(step: int) -> list[Batch]:
        if step == job.get("kill_at") and rank == world - 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return passes(data(job, step), rank, world, micro, context)

    loop.training_loss = spoilable_loss
    try:
        train(plan, batches, observer)
    except TrainingError as error:
        (folder / "error.txt").write_text(str(error), encoding="utf-8")
    if rank == 0:
        (folder / "losses.json").write_text(json.dumps(observer.records), encoding="utf-8")


def optimization(job: dict) -> Optimization:
    return Optimization(
        optimizer=job.get("optimizer", "adamw"),
        engine=job.get("engine", "deepspeed"),
        zero_stage=job.get("zero", 1),
        shard_group_size=job.get("shards", 0),
        dtype=job.get("dtype", "float32"),
        gradient_dtype=job.get("gradient_dtype", "float32"),
        z_loss_coefficient=0.01,
        gradient_clip=0.5,
        **{"balance_loss_coefficient": 0.1} | job.get("routing", {}),
    )


def write_gradients(job: dict, rank: int, world: int) -> None:
    """The gradients that this worker's parameters get on the first step's data, and their norm, to its own file."""
    context = job.get("context", 1)
    sizes = (job["experts"], SEQUENCES * context // world)
    engine = Engine(preset("tiny"), optimization(job), *sizes, training_loss, context_parallel_size=context)
    for number, batch in enumerate(passes(whole_batch(1), rank, world, 1, context)):
        if number:
            engine.end_micro_batch()
        loss, _ = engine.forward(batch, whole_scale(), optimization(job), engine.context)
        engine.backward(loss)
    result = {"norm": torch.tensor(engine.gradient_norm())}
    for name, parameter in engine.model.named_parameters():
        result |= unstacked(name, whole_gradient(engine, name, parameter), engine.model.local_experts)
    folder = Path(job["folder"])
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in result.items()}, folder / f"{rank}.safetensors")
    engine.close()


def whole_gradient(engine: Engine, name: str, parameter: Tensor) -> Tensor:
    """The sum over passes and workers of the gradient of this worker's parameter."""
    backend = engine._backend
    if isinstance(backend, FlatBackend):
        bucket, *_ = backend._positions[name]
        parts = [torch.empty_like(bucket.own_gradient) for _ in range(bucket.split.shards.size)]
        if len(parts) > 1:
            dist.all_gather(parts, bucket.own_gradient, group=bucket.split.shards.process_group)
        else:
            parts = [bucket.own_gradient]
        start, shape = bucket.offsets[name]
        return torch.cat(parts)[start : start + shape.numel()].view(shape).clone()
    if engine._settings.zero_stage:
        return backend.deepspeed.utils.safe_get_full_grad(parameter)
    return parameter.grad


def write_reference(job: dict, rank: int, _: int) -> None:
    """The same gradients by torch's autograd alone, in one pass over the whole batch."""
    if rank == 0:
        Path(job["folder"]).mkdir(parents=True, exist_ok=True)
        model = ArcticModel(preset("tiny"), seed=0)
        training_loss(model, whole_batch(1), whole_scale(), optimization({}))[0].backward()
        result = {}
        for name, parameter in model.named_parameters():
            result |= unstacked(name, parameter.grad, model.local_experts)
        save_file(
            {name: tensor.contiguous() for name, tensor in result.items()},
            Path(job["folder"]) / "one_process.safetensors",
        )


def write_errors(job: dict, rank: int, world: int) -> None:
    """Relative error of the whole gradient of each parameter, and of its norm, whose passes bring known gradients."""
    settings = optimization(job)
    engine = Engine(preset("tiny"), settings, job["experts"], job["passes"], known_loss)
    named = dict(engine.model.named_parameters())
    for number in range(job["passes"]):
        if number:
            engine.end_micro_batch()
        engine.backward(engine.forward({name: known(name, p, rank, number) for name, p in named.items()}))
    result, squares = {}, 0.0
    for name, parameter in named.items():
        holders = range(rank % job["experts"], world, job["experts"]) if ".experts." in name else range(world)
        sums = [known(name, parameter, each, number).double() for each in holders for number in range(job["passes"])]
        expected = torch.stack(sums).sum(0)
        difference = whole_gradient(engine, name, parameter).double() - expected
        result[name] = float(difference.norm() / expected.norm())
        squares += float(expected.square().sum()) * (1 / world if ".experts." not in name else job["experts"] / world)
    total = torch.tensor(squares, dtype=torch.float64)
    dist.all_reduce(total)
    result["norm"] = abs(engine.gradient_norm() / float(total.sqrt()) - 1)
    (Path(job["folder"]) / f"{rank}.json").write_text(json.dumps(result), encoding="utf-8")
    engine.close()


def known_loss(model: ArcticModel, gradients: dict[str, Tensor]) -> Tensor:
    return sum((parameter * gradients[name]).sum() for name, parameter in model.named_parameters())


def known(name: str, like: Tensor, rank: int, number: int) -> Tensor:
    """A gradient in the dtype of the weights, all of one sign, as a gain's or a frequent token's is over a batch."""
    generator = torch.Generator().manual_seed(sum(map(ord, name)) + 1000 * rank + 100_000 * number)
    return (torch.rand(like.shape, generator=generator) + 0.5).to(like.dtype)


def whole_scale() -> Scale:
    """Of the first step, with a load to balance against."""
    config, batch = preset("tiny"), whole_batch(1)
    load = torch.linspace(0.1, 1.0, config.num_layers * config.num_experts).view(config.num_layers, -1)
    return Scale(float((batch.targets >= 0).sum()), float((batch.segments >= 0).sum()), load)


def passes(whole: Batch, rank: int, world: int, micro: int, context: int = 1) -> list[Batch]:
    """This worker's part of a step's batch, in passes of `micro` sequences, or of its part of these if `context`
    neighbours share them: of 2 `context` chunks one from the front and one from the back."""
    group, groups = rank // context, world // context
    share = slice(group * SEQUENCES // groups, (group + 1) * SEQUENCES // groups)
    chunks = torch.arange(LENGTH).chunk(2 * context)
    own = torch.cat([chunks[rank % context], chunks[-1 - rank % context]])
    columns = [part[share][:, own].split(micro) for part in whole[:4]]
    return [Batch(*parts) for parts in zip(*columns, whole.corpora[:, share].split(micro, dim=1), strict=True)]


def data(job: dict, step: int) -> Batch:
    left = [number for number in range(1, 100) if number not in job.get("left_out", [])]
    batch = whole_batch(left[step - 1])
    if spoil := job.get("spoiled", {}).get(str(step)):
        batch.ids[0, 0] = SPOILS[spoil]
    return batch


def spoilable_loss(model: ArcticModel, batch: Batch, *rest: object) -> tuple[Tensor, Tensor]:
    hook = model.model.embed_tokens.register_forward_hook(spoiled_embedding)
    loss, sums = training_loss(model, batch, *rest)
    hook.remove()
    spoil = int(batch.ids[0, 0])
    if spoil == SPOILS["spike"]:
        loss = loss * 1000
    elif spoil == SPOILS["gradient"]:
        loss = loss * float("nan")
    return loss, sums


def spoiled_embedding(_: torch.nn.Module, inputs: tuple[Tensor], embedded: Tensor) -> Tensor:
    """The effect of a NaN token on its sequence, and on no other."""
    return embedded.masked_fill((inputs[0] == SPOILS["loss"]).unsqueeze(-1), float("nan"))


def whole_batch(step: int) -> Batch:
    """Four sequences of two documents each, the last with padding; a narrow band of ids, so that there is something
    to learn."""
    generator = torch.Generator().manual_seed(step)
    ids = torch.randint(0, 60, (SEQUENCES, LENGTH + 1), generator=generator)
    segments = (torch.arange(LENGTH) >= 7).int().repeat(SEQUENCES, 1)
    positions = torch.arange(LENGTH).repeat(SEQUENCES, 1) - 7 * segments
    segments[-1, 12:] = -1
    targets = ids[:, 1:].clone()
    targets[:, 6] = -1
    targets[-1, 11:] = -1
    corpora = torch.tensor([[True, True, False, False], [False, False, True, True]])
    return Batch(ids[:, :-1].contiguous(), positions, segments, targets, corpora)


class Recorder:
    def __init__(self) -> None:
        self.records: list[dict] = []

    def stepped(self, step: int, seconds: float) -> None:
        pass

    def recorded(self, records: list[dict]) -> None:
        self.records += records

    def saving(self) -> None:
        pass

    def traced(self, file: Path) -> None:
        pass


if __name__ == "__main__":
    main()
