"""The whole model, with the released Arctic's own tensor names."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from arctic_model.checkpoint.errors import CheckpointError
from arctic_model.checkpoint.huge_pages import move_to_huge_pages
from arctic_model.checkpoint.reading import open_weights
from arctic_model.checkpoint.tensors.names import WEIGHT, ParameterSlice, logical_tensors
from arctic_model.checkpoint.workers import Workers
from arctic_model.checkpoint.writing import layout, write_checkpoint
from arctic_model.config import ArcticConfig
from arctic_model.inference.generate import generate
from arctic_model.inference.sampling import GREEDY, Sampling
from arctic_model.layer import ForwardPolicy, new_layer
from arctic_model.layers.attention.document_mask import cached_bias, document_mask
from arctic_model.layers.attention.grouped_query import LayerCache, Mask
from arctic_model.layers.embedding import TiedHead, TokenEmbedding
from arctic_model.layers.normalization import RMSNorm
from arctic_model.layers.recomputation import selective_recomputation
from arctic_model.layers.rotary import rotation
from arctic_model.moe.dispatch import ExpertGroup
from arctic_model.moe.router import Router, Routing, updated_bias
from arctic_model.weight_init import initialize

PLAIN = ForwardPolicy()
"""Drops no assignment and recomputes nothing: inference, as in the released model."""


class HiddenStates(NamedTuple):
    """Final hidden states [B, T, D], and the routing of all layers with experts, its tensors with an axis L in front;
    None of a dense model."""

    hidden: Tensor
    routing: Routing | None


class Backbone(nn.Module):
    """Embedding, layers and final norm."""

    def __init__(self, config: ArcticConfig, group: ExpertGroup) -> None:
        super().__init__()
        self.embed_tokens = TokenEmbedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(new_layer(config, number, group) for number in range(config.num_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)


class ArcticModel(nn.Module):
    """A causal language model: Arctic's dense-MoE hybrid (Snowflake, 2024).

    Args:
        config: the architecture.
        group: the workers that share the experts; each holds E / size of them. None: this process holds all.
        seed: seed of the initial weights. Equal seeds give equal weights for any number of workers. None draws from
            torch's default generator; workers of one group need the same seed.

    Raises:
        ValueError: if the group cannot split the experts evenly.

    Example:
        >>> import torch
        >>> from arctic_model import ArcticModel, preset
        >>> model = ArcticModel(preset("tiny"), seed=0)
        >>> model(torch.tensor([[1, 2, 3]])).shape  # logits of the next token, [B, T, V]
        torch.Size([1, 3, 384])
    """

    def __init__(self, config: ArcticConfig, group: ExpertGroup | None = None, *, seed: int | None = None) -> None:
        super().__init__()
        self.config = config
        self.group = group or ExpertGroup()
        # Torch's own initial values would be computed only to be overwritten.
        with torch.device("meta"):
            self.model = Backbone(config, self.group)
            self.lm_head = _head(config, self.model.embed_tokens)
        self.to_empty(device=torch.empty(0).device)
        initialize(self, config.init_std, self.local_experts, seed)

    def to_empty(self, *, device: torch.device | str | int | None, recurse: bool = True) -> "ArcticModel":
        """As `torch.nn.Module.to_empty`, whose `empty_like` of a tensor without memory imports sympy: most of a second
        in each process."""

        def allocated(tensor: Tensor) -> Tensor:
            return torch.empty(tensor.shape, dtype=tensor.dtype, device=device)

        self._apply(allocated, recurse)  # type: ignore[no-untyped-call]
        return self

    @staticmethod
    def from_pretrained(
        folder: str | Path,
        *,
        dtype: torch.dtype | None = torch.float32,
        device: torch.device | str = "cpu",
        group: ExpertGroup | None = None,
    ) -> "ArcticModel":
        """The model of a folder in evaluation mode.

        Args:
            folder: a checkpoint as training or `save_pretrained` writes it, or a Hugging Face directory of an Arctic
                model (see `arctic_model.checkpoint.reading.open_weights`).
            dtype: of the weights. None: bfloat16 if the folder has them so, else float32. The router's biases stay
                float32.
            device: of the weights.
            group: the workers that read the model together, each with a part of the experts only; all call in step.
                None: this process holds all experts.

        Raises:
            CheckpointError: if the folder holds no model, or one of its files is damaged.
            ValueError: if the group cannot split the experts evenly.

        Example:
            >>> import tempfile, torch
            >>> from pathlib import Path
            >>> from arctic_model import ArcticModel, preset
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     ArcticModel(preset("tiny"), seed=0).save_pretrained(Path(folder) / "model")
            ...     model = ArcticModel.from_pretrained(Path(folder) / "model", dtype=torch.bfloat16)
            >>> model.lm_head.weight.dtype
            torch.bfloat16
        """
        group = group or ExpertGroup()
        stored = open_weights(folder, Workers(group.rank, group.size, group.process_group))
        with torch.device("meta"):
            model = ArcticModel(stored.config, group)
        model.to(dtype or stored.dtype).to_empty(device=device)
        if model.lm_head.weight.is_cpu:
            move_to_huge_pages(model)
        with torch.no_grad():
            for name, tensor in model.logical_tensors():
                tensor.copy_(stored.read(name))
        biases = [stored.read(name) for name, _ in model.named_buffers()]
        if biases:
            model.set_router_biases(torch.stack(biases))
        return model.eval()

    def save_pretrained(self, folder: str | Path) -> None:
        """Write a checkpoint of the weights in float32, which `from_pretrained` reads. It appears whole or not at all.

        Args:
            folder: must not exist; its parents are created.

        Raises:
            CheckpointError: if `folder` exists, or this process does not hold all experts.
        """
        folder = Path(folder)
        if folder.exists():
            raise CheckpointError(f"{folder}: exists already. Remove it, or choose another folder.")
        if self.group.size > 1:
            raise CheckpointError(f"{folder}: this process holds 1 / {self.group.size} of the experts. Train and save.")
        tensors = [*self.named_parameters(), *self.named_buffers()]
        slices = (ParameterSlice(name, WEIGHT, 0, tensor.detach().float().cpu().view(-1)) for name, tensor in tensors)
        folder.parent.mkdir(parents=True, exist_ok=True)
        write_checkpoint(folder, self.config, None, layout(self, lambda _: ()), slices)

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        max_new_tokens: int,
        sampling: Sampling = GREEDY,
        end_ids: Iterable[int] = (),
    ) -> list[list[int]]:
        """Continue prompts of token ids, side by side, with keys and values cached.

        Args:
            prompts: at least one id each.
            max_new_tokens: limit of each continuation.
            sampling: how ids are chosen; by default the likeliest is. Each prompt has independent samples.
            end_ids: ids that end a continuation.

        Returns:
            The new ids of each prompt. An end id is the last.

        Raises:
            GenerationError: if a prompt is empty, or exceeds `max_positions` with its continuation.

        Example:
            >>> from arctic_model import ArcticModel, Sampling, preset
            >>> model = ArcticModel(preset("tiny"), seed=0)
            >>> [len(ids) for ids in model.generate([[1, 2, 3], [4, 5]], max_new_tokens=8)]
            [8, 8]
            >>> [draw] = model.generate([[1, 2, 3]], 8, Sampling(temperature=0.8, top_p=0.95, seed="1"))
        """
        return generate(self, prompts, max_new_tokens, sampling, end_ids)

    def forward(
        self,
        ids: Int[Tensor, "B T"],
        positions: Int[Tensor, "B T"] | None = None,
        segments: Int[Tensor, "B T"] | None = None,
        caches: list[LayerCache] | None = None,
    ) -> Float[Tensor, "B T V"]:
        """Logits of the next token at every position.

        Args:
            ids: token ids.
            positions: of each token in its document. None: 0 to T - 1, or after the cached tokens.
            segments: number of each token's document in its row, -1 for padding. A token attends to its own document
                only. None: every row is one document.
            caches: see `new_caches`; the ids continue the cached document, and `segments` are ignored.

        Returns:
            Logits in the dtype of the weights.
        """
        logits: Tensor = self.lm_head(self.hidden_states(ids, positions, segments, caches).hidden)
        return logits

    def hidden_states(
        self,
        ids: Int[Tensor, "B T"],
        positions: Int[Tensor, "B T"] | None = None,
        segments: Int[Tensor, "B T"] | None = None,
        caches: list[LayerCache] | None = None,
        policy: ForwardPolicy = PLAIN,
        mask: Mask | None = None,
    ) -> HiddenStates:
        """The input of the head, and the routing for the router's losses.

        Args:
            ids: as in `forward`, like `positions`, `segments` and `caches`.
            policy: capacity and recomputation of a training pass.
            mask: the keys that each query sees, if neither segments nor caches describe them.
        """
        if positions is None:
            first = caches[0].length if caches else 0
            positions = torch.arange(first, first + ids.shape[1], device=ids.device).expand_as(ids)
        if segments is None:
            segments = torch.zeros_like(ids)
        hidden = self.model.embed_tokens(ids)
        angles = rotation(positions, self.config.rope, torch.promote_types(hidden.dtype, torch.float32))
        if mask is None and caches:
            mask = cached_bias(ids.shape[1], caches[0].length, hidden)
        elif mask is None:
            mask = document_mask(segments, hidden.dtype, self.config.head_dim)
        routings = []
        for number, layer in enumerate(self.model.layers):
            inputs = (hidden, angles, mask, caches[number] if caches else None, policy.capacity_factor)
            if policy.activation_checkpointing == "layer":
                hidden, routing = checkpoint(layer, *inputs, use_reentrant=False)
            else:
                with selective_recomputation() if policy.activation_checkpointing == "selective" else nullcontext():
                    hidden, routing = layer(*inputs)
            if routing is not None:
                routings.append(routing)
        return HiddenStates(self.model.norm(hidden), _stacked(routings) if routings else None)

    @torch.no_grad()
    def balance(self, assignments: Float[Tensor, "L E"], rate: float) -> None:
        """Move the routers' biases against the load of a step (see `arctic_model.moe.router.updated_bias`).

        Raises:
            ValueError: if the model was built without `router_bias`.
        """
        if not self.config.router_bias:
            raise ValueError(
                "train.balance_bias_rate moves biases that the model has not. Set model.router_bias = true."
            )
        biases = torch.stack(list(self.buffers()))
        self.set_router_biases(updated_bias(biases.double(), assignments.to(biases.device), rate))

    def set_router_biases(self, biases: Float[Tensor, "L E"]) -> None:
        """Set the biases of all layers, in float32 for any dtype of the model: bfloat16 loses a step of 0.001."""
        for router, bias in zip(self._routers, biases.float().to(self.lm_head.weight.device), strict=True):
            # Assigned and not copied: a cast of the model, such as DeepSpeed's, casts its buffers too.
            router.e_score_correction_bias = bias.clone()

    @property
    def local_experts(self) -> range:
        """Numbers of the experts that this process holds."""
        return self.group.local_experts(self.config.num_experts)

    def logical_tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Every tensor that this process holds, by the released model's names, sharing memory with the model."""
        return logical_tensors(self, self.local_experts)

    @property
    def _routers(self) -> list[Router]:
        return [module for module in self.modules() if isinstance(module, Router)]

    def new_caches(self, capacity: int, batch: int = 1) -> list[LayerCache]:
        """Empty caches for `capacity` positions, one per layer."""
        shape = (batch, self.config.num_kv_heads, capacity, self.config.head_dim)
        like = self.lm_head.weight
        return [LayerCache(like.new_empty(shape), like.new_empty(shape)) for _ in range(self.config.num_layers)]


def _head(config: ArcticConfig, embedding: TokenEmbedding) -> TiedHead | nn.Linear:
    return TiedHead(embedding) if config.tied_head else nn.Linear(config.hidden_size, config.vocab_size, bias=False)


def _stacked(routings: list[Routing]) -> Routing:
    logits, experts, weights, masks = zip(*routings, strict=True)
    dropless = masks[0] is None
    return Routing(
        torch.stack(logits), torch.stack(experts), torch.stack(weights), None if dropless else torch.stack(masks)
    )
