"""DeepSpeed's ZeRO-0, 1 and 2 behind the surface of an engine."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from arctic_model.checkpoint.tensors.names import WEIGHT, is_expert
from arctic_model.config import ArcticConfig
from arctic_model.model import ArcticModel
from arctic_model.moe.dispatch import ExpertGroup
from arctic_model.sizing.parallel import require_expert_groups
from arctic_model.training.engine import deepspeed_setup
from arctic_model.training.engine.backend import ReadPart, SetValues, even_part
from arctic_model.training.optimization.optimizer import new_optimizer
from arctic_model.training.optimization.settings import Optimization, part_of


class DeepSpeedBackend:
    """See `arctic_model.training.engine.backend.Backend`."""

    def __init__(self, settings: Optimization, expert_parallel_size: int, num_micro_batches: int) -> None:
        self._settings = settings
        self._num_micro_batches = num_micro_batches
        self.deepspeed = deepspeed_setup.import_deepspeed()
        self._group_name = f"ep_size_{expert_parallel_size}"
        self.expert_group = self._new_expert_group(expert_parallel_size)
        self.device = torch.device(self.deepspeed.accelerator.get_accelerator().current_device_name())

    def adopt(self, model: ArcticModel, loss: Callable[..., Any]) -> None:
        self._model = model
        model.to_empty(device=self.device)
        for name, parameter in model.named_parameters():
            if part_of(name) == "experts":
                vars(parameter).update(allreduce=False, group_name=self._group_name)
        self._optimizer = new_optimizer(model, self._settings, self._group_name)
        wrapped = _Trained(model, loss, self._marker(model.config))
        arguments = (wrapped, self._optimizer, self._settings, self._num_micro_batches)
        self._engine = deepspeed_setup.initialize(self.deepspeed, *arguments)
        self._optimizer.zero_states()
        if self._settings.zero_stage:
            deepspeed_setup.link_states(self.zero)
            self._optimizer.partitions = dict(deepspeed_setup.partitions(self.zero))

    def forward(self, *inputs: Any) -> Any:
        return self._engine(*inputs)

    def backward(self, loss: Tensor) -> None:
        self._engine.backward(loss.clone(), scale_wrt_gas=False)

    def end_micro_batch(self) -> None:
        self._engine.step()

    def gradients(self) -> Iterator[tuple[float, Tensor]]:
        if self._settings.zero_stage:
            yield from ((1.0, gradient) for part in self.zero.averaged_gradients.values() for gradient in part)
            return
        world = dist.get_world_size()
        for name, parameter in self._model.named_parameters():
            if parameter.grad is not None:
                yield (self.expert_group.size if is_expert(name) else 1) / world, parameter.grad

    def update(self, learning_rate: float, gradient_scale: float | None) -> None:
        self._optimizer.prepare(learning_rate, gradient_scale)
        self._engine.step()

    def set_updates(self, updates: int) -> None:
        self._optimizer.set_updates(updates)

    def fill(self, set_values: SetValues) -> None:
        for name, parameter in self._model.named_parameters():
            if parameter.requires_grad:
                set_values(name, parameter)
                start, values = self.part(name, parameter, WEIGHT, whole=True)
                values.copy_(parameter.reshape(-1)[start : start + values.numel()])

    def load_weight(self, name: str, parameter: nn.Parameter, read: ReadPart) -> None:
        parameter.copy_(read(0, parameter.numel()).view(parameter.shape))
        start, values = self.part(name, parameter, WEIGHT, whole=True)
        if values.numel():
            values.copy_(read(start, values.numel()))

    def publish(self) -> None:
        """Nothing is to do: every worker reads the whole weights."""

    def part(self, name: str, parameter: nn.Parameter, kind: str, *, whole: bool = False) -> tuple[int, Tensor]:
        if self._settings.zero_stage:
            mapping = vars(parameter)["_hp_mapping"]
            if mapping is None:
                return 0, parameter.new_empty(0, dtype=torch.float32)
            return mapping.lp_fragment_address.start, mapping.get_hp_fragment(None if kind == WEIGHT else kind)
        values = (parameter.detach() if kind == WEIGHT else self._optimizer.state[parameter][kind]).view(-1)
        if whole:
            return 0, values
        holders = self.expert_group.size if is_expert(name) else 1
        part = even_part(values.numel(), dist.get_rank() // holders, dist.get_world_size() // holders)
        return part.start, values[part.start : part.stop]

    def close(self) -> None:
        self._engine.destroy()

    @property
    def zero(self) -> Any:
        """DeepSpeed's optimizer at ZeRO-1 and 2."""
        return self._engine.optimizer

    def _new_expert_group(self, size: int) -> ExpertGroup:
        require_expert_groups(size, dist.get_world_size())
        groups = self.deepspeed.utils.groups
        # State of an earlier engine of this process was lost with its process group.
        groups._release_process_group_references()
        groups._create_expert_and_data_parallel(size)
        return ExpertGroup(size, dist.get_rank() % size, groups._get_expert_parallel_group(self._group_name))

    def _marker(self, config: ArcticConfig) -> nn.Module:
        """A marker that shows DeepSpeed that there are experts to train, if there are."""
        lora = self._settings.tuning.lora
        if not config.num_experts or (lora and "experts" not in lora.targets) or "experts" in self._settings.freeze:
            return nn.Identity()
        return deepspeed_setup.marker(self.deepspeed, config, self.expert_group, self._group_name)


class _Trained(nn.Module):
    """The module that DeepSpeed wraps: the model, its loss, and the marker."""

    def __init__(self, model: ArcticModel, loss: Callable[..., Any], marker: nn.Module) -> None:
        super().__init__()
        self.arctic = model
        self.loss = loss
        self.marker = marker

    def forward(self, *inputs: Any) -> Any:
        return self.loss(self.arctic, *inputs)
