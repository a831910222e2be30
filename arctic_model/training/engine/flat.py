"""The flat engine: ZeRO on flat buffers, without hooks on parameters.

Every layer has one bucket of dense parameters and one of experts. Backward computes a layer's gradients as torch does;
when they are complete, which the gradient of the layer's input shows, one launch moves them into the flat gradient and
one collective sums them, while backward goes on with the layer below. At stage 3 a layer's dense weights are gathered
in front of its forward and of its backward, one layer ahead, and freed behind.

    stage   split over workers                      ZeRO (Rajbhandari et al. 2019, arXiv 1910.02054)
    0       nothing
    1       float32 weights, optimizer state        P_os
    2       gradients too                           P_os+g
    3       weights of the layers' dense part too   P_os+g+p; of a group of workers: HSDP
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from arctic_model.checkpoint.tensors.names import WEIGHT, is_expert
from arctic_model.model import ArcticModel
from arctic_model.training.engine.backend import ReadPart, SetValues, even_part
from arctic_model.training.engine.bucket import Bucket, BucketSettings
from arctic_model.training.engine.worker_groups import WorkerGroups
from arctic_model.training.optimization.muon import partition
from arctic_model.training.optimization.optimizer import new_optimizer
from arctic_model.training.optimization.settings import Optimization

MAX_IN_FLIGHT = 2
"""Buckets whose gradients are being reduced at once."""
EXPERTS = "experts"
"""Name of the experts' group of the optimizer."""


class FlatBackend:
    """See `arctic_model.training.engine.backend.Backend`."""

    def __init__(self, settings: Optimization, expert_parallel_size: int, num_micro_batches: int) -> None:
        self._settings = settings
        self._num_passes = num_micro_batches
        stage = settings.zero_stage
        self._groups = WorkerGroups(expert_parallel_size, settings.shard_group_size, shards=stage > 0)
        self.expert_group = self._groups.experts
        has_gpu = torch.cuda.is_available()
        self.device = torch.device("cuda", torch.cuda.current_device()) if has_gpu else torch.device("cpu")
        self._pass = 0
        self._in_backward = False
        self._in_flight: deque[Bucket] = deque()
        self._waiting: set[int] = set()

    def adopt(self, model: ArcticModel, loss: Callable[..., Any]) -> None:
        self._model, self._loss = model, loss
        self._num_layers = len(model.model.layers)
        self._optimizer = new_optimizer(model, self._settings, EXPERTS)
        self._units = self._new_buckets(model)
        self._positions = self._split_optimizer()
        self._optimizer.zero_states()
        self._materialize_rest(model)
        self._hooks = [
            hook
            for number, layer in enumerate(model.model.layers)
            for hook in (
                layer.register_forward_pre_hook(partial(self._enter, number)),
                layer.register_forward_hook(partial(self._leave, number)),
            )
        ]
        for bucket in self._buckets:
            bucket.release()

    def forward(self, *inputs: Any) -> Any:
        return self._loss(self._model, *inputs)

    def backward(self, loss: Tensor) -> None:
        self._pass += 1
        self._in_backward, self._waiting = True, set(self._units)
        try:
            loss.backward()
            for unit in sorted(self._waiting, reverse=True):
                self._reduce(unit)
            while self._in_flight:
                self._finish_oldest()
        finally:
            self._in_backward = False
        if self._is_last_pass:
            for bucket in self._buckets:
                bucket.finish_all_reduce()

    def end_micro_batch(self) -> None:
        """Nothing is to do: `backward` counts."""

    def gradients(self) -> Iterator[tuple[float, Tensor]]:
        for bucket in self._buckets:
            yield 1.0 / bucket.split.replicas.size, bucket.own_gradient

    @torch.no_grad()
    def update(self, learning_rate: float, gradient_scale: float | None) -> None:
        self._pass = 0
        if gradient_scale is None:
            return
        self._optimizer.prepare(learning_rate, gradient_scale)
        for bucket, view, start in self._views:
            view.grad = bucket.own_gradient[start : start + view.numel()].float()
        self._optimizer.step()
        for _, view, _ in self._views:
            view.grad = None
        self.publish()

    def set_updates(self, updates: int) -> None:
        self._optimizer.set_updates(updates)

    def fill(self, set_values: SetValues) -> None:
        for bucket in self._buckets:
            bucket.gather()
            bucket.finish_gather()
            for name, parameter in bucket.parameters:
                set_values(name, parameter)
            bucket.take_weights()
            bucket.release()

    def load_weight(self, name: str, parameter: nn.Parameter, read: ReadPart) -> None:
        start, values = self.part(name, parameter, WEIGHT, whole=True)
        if values.numel():
            values.copy_(read(start, values.numel()))

    def publish(self) -> None:
        for bucket in self._buckets:
            bucket.publish()
        for bucket in self._buckets:
            bucket.finish_gather()

    def part(self, name: str, parameter: nn.Parameter, kind: str, *, whole: bool = False) -> tuple[int, Tensor]:  # noqa: ARG002
        bucket, view, offset = self._positions[name]
        start, local = bucket.owned(name)
        values = (view if kind == WEIGHT else self._optimizer.state[view][kind])[local.start - offset :]
        values = values[: local.stop - local.start]
        if whole:
            return start, values
        replicas = bucket.split.replicas
        part = even_part(values.numel(), replicas.rank, replicas.size)
        return start + part.start, values[part.start : part.stop]

    def close(self) -> None:
        for hook in self._hooks:
            hook.remove()
        self._groups.close()

    @property
    def _buckets(self) -> Iterator[Bucket]:
        return (bucket for unit in self._units.values() for bucket in unit)

    @property
    def _is_last_pass(self) -> bool:
        return self._pass == self._num_passes

    def _new_buckets(self, model: ArcticModel) -> dict[int, list[Bucket]]:
        """By unit: layers by number, the embedding as -1, and last norm and head as the number of layers."""
        names = {parameter: name for name, parameter in model.named_parameters()}
        members: dict[tuple[int, bool], list[str]] = {}
        # In the order of the optimizer's groups, so that each group has one range of a bucket.
        for group in self._optimizer.param_groups:
            group["members"] = [names[parameter] for parameter in group["params"]]
            for name in group["members"]:
                members.setdefault((self._unit(name), is_expert(name)), []).append(name)
        units: dict[int, list[Bucket]] = {unit: [] for unit in range(-1, self._num_layers + 1)}
        for (unit, of_experts), each in sorted(members.items()):
            split = self._groups.of_experts if of_experts else self._groups.of_dense
            settings = self._bucket_settings(shards_weights=0 <= unit < self._num_layers and not of_experts)
            units[unit].append(Bucket(model, each, split, settings, self.device))
        return units

    def _bucket_settings(self, *, shards_weights: bool) -> BucketSettings:
        settings = self._settings
        dtypes = (getattr(torch, settings.dtype), getattr(torch, settings.gradient_dtype))
        return BucketSettings(settings.zero_stage >= 2, shards_weights and settings.zero_stage == 3, *dtypes)

    def _unit(self, name: str) -> int:
        _, inside, rest = name.partition(".layers.")
        if inside:
            return int(rest.partition(".")[0])
        return -1 if "embed_tokens" in name else self._num_layers

    def _split_optimizer(self) -> dict[str, tuple[Bucket, Tensor, int]]:
        """Let each group of the optimizer update this worker's part of every bucket that holds some of it.

        Returns:
            By parameter its bucket, the optimizer's tensor that holds the worker's part of it, and that one's offset in
            the worker's part of the bucket.
        """
        groups = self._optimizer.param_groups
        names = {name: group for group in groups for name in group.pop("members")}
        for group in groups:
            group["params"] = []
        positions: dict[str, tuple[Bucket, Tensor, int]] = {}
        self._views: list[tuple[Bucket, Tensor, int]] = []
        for bucket in self._buckets:
            for group in groups:
                members = [name for name in bucket.offsets if names[name] is group]
                if members:
                    view, start = self._view(bucket, members)
                    group["params"].append(view)
                    self._views.append((bucket, view, start))
                    positions |= dict.fromkeys(members, (bucket, view, start))
                    if group["muon"]:
                        shards, offsets = bucket.split.shards, [bucket.offsets[name] for name in members]
                        part = partition(offsets, bucket.part_size, shards.rank, shards.process_group)
                        self._optimizer.partitions[view] = part
        return positions

    @staticmethod
    def _view(bucket: Bucket, members: Sequence[str]) -> tuple[Tensor, int]:
        """The float32 weights of this worker's part of neighbours in a bucket, and their offset in its part."""
        parts = [bucket.owned(name)[1] for name in members]
        held = [part for part in parts if part.start < part.stop]
        start, stop = (held[0].start, held[-1].stop) if held else (0, 0)
        return bucket.master[start:stop], start

    def _materialize_rest(self, model: ArcticModel) -> None:
        """Memory for frozen parameters, which every worker holds whole, and for the biases of routers."""
        dtype = getattr(torch, self._settings.dtype)
        for module in model.modules():
            for name, parameter in module.named_parameters(recurse=False):
                if parameter.is_meta:
                    # A matrix in FP8 consists of integers.
                    own = dtype if parameter.is_floating_point() else parameter.dtype
                    memory = torch.zeros(parameter.shape, dtype=own, device=self.device)
                    module.register_parameter(name, nn.Parameter(memory, requires_grad=False))
            for name, buffer in module.named_buffers(recurse=False):
                module.register_buffer(name, torch.zeros(buffer.shape, device=self.device))

    def _enter(self, number: int, _: nn.Module, inputs: tuple[Any, ...]) -> None:
        """In front of a layer's forward, and of a recomputation of it."""
        self._gather(number)
        if self._in_backward:
            return
        if number + 1 < self._num_layers:
            self._start_gather(number + 1)
        if number == 0 and inputs[0].requires_grad:
            inputs[0].register_hook(lambda _: self._reduce(0))

    def _leave(self, number: int, _: nn.Module, __: Any, output: Any) -> None:
        """Behind a layer's forward."""
        if self._in_backward:
            return
        hidden = output.hidden
        if hidden.requires_grad:
            hidden.register_hook(partial(self._turn, number))
        # Backward begins with the last layer.
        if number + 1 < self._num_layers or not hidden.requires_grad:
            self._release(number)

    def _turn(self, number: int, _: Tensor) -> None:
        """The backward of everything after a layer is done, that of the layer is next."""
        self._reduce(number + 1)
        self._gather(number)
        if number:
            self._start_gather(number - 1)

    @torch.no_grad()
    def _reduce(self, unit: int) -> None:
        """Collect the unit's gradients, and start to sum them over workers if it is time. The backward of its layer is
        done."""
        if unit not in self._waiting:
            return
        self._waiting.remove(unit)
        for bucket in self._units[unit]:
            bucket.collect(adds=self._pass > 1)
            if self._is_last_pass or self._settings.zero_stage >= 2:
                if len(self._in_flight) == MAX_IN_FLIGHT:
                    self._finish_oldest()
                bucket.reduce(adds=self._pass > 1)
                self._in_flight.append(bucket)
        self._release(unit)

    def _finish_oldest(self) -> None:
        self._in_flight.popleft().finish_reduce(is_last_pass=self._is_last_pass)

    def _start_gather(self, unit: int) -> None:
        for bucket in self._units[unit]:
            bucket.gather()

    def _gather(self, unit: int) -> None:
        for bucket in self._units[unit]:
            bucket.gather()
            bucket.finish_gather()

    def _release(self, unit: int) -> None:
        for bucket in self._units[unit]:
            bucket.release()
