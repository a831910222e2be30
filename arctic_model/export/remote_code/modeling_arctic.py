# Copyright 2026 The Arctic pretraining authors.
#
# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in compliance with
# the License. You may obtain a copy of the License at http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software distributed under the License is distributed on an
# "AS IS" BASIS, WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the License for the
# specific language governing permissions and limitations under the License.
"""Arctic's dense-MoE hybrid for `transformers` 5. Needs no package but `transformers` and `torch`.

    h = x + attention(input_layernorm(x))
    y = h + residual_mlp(residual_layernorm(h)) + experts(post_attention_layernorm(x))

The experts read the input of the layer, so `post_attention_layernorm`, which has its name from the released
checkpoint, is a norm of the input. Attention is Qwen 3's, experts are Mixtral's. A checkpoint has one tensor per
expert.

Other layers, with n = post_attention_layernorm(h):

    layer_shape "shared"       y = h + residual_mlp(n) + experts(n)
    layer_shape "moe"          y = h + experts(n)
    layers without experts     y = h + residual_mlp(residual_layernorm(h))

With `learned_sinks`, attention is gpt-oss's: each head has a score of a key without a value.
"""

import torch
import torch.nn.functional as F
from torch import nn
from transformers import MixtralForCausalLM, MixtralModel
from transformers.conversion_mapping import (
    get_checkpoint_conversion_mapping,
    register_checkpoint_conversion_mapping,
)
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.gpt_oss.modeling_gpt_oss import eager_attention_forward
from transformers.models.mixtral.modeling_mixtral import (
    MixtralExperts,
    MixtralPreTrainedModel,
    MixtralRMSNorm,
    MixtralRotaryEmbedding,
    MixtralTopKRouter,
)
from transformers.models.qwen3.modeling_qwen3 import Qwen3Attention, apply_rotary_pos_emb
from transformers.utils.output_capturing import OutputRecorder

from .configuration_arctic import ArcticConfig

# Mixtral's mapping between one tensor per expert and stacks, without its renaming of the block.
register_checkpoint_conversion_mapping("arctic", get_checkpoint_conversion_mapping("mixtral")[1:], overwrite=True)


class ArcticAttention(Qwen3Attention):
    """With biases of queries, keys and values, norms of query and key heads, and sinks, if the config has them."""

    def __init__(self, config: ArcticConfig, layer_idx: int) -> None:
        super().__init__(config, layer_idx)
        if config.qkv_bias:
            for name in ("q_proj", "k_proj", "v_proj"):
                plain = getattr(self, name)
                setattr(self, name, nn.Linear(plain.in_features, plain.out_features))
        if not config.qk_norm:
            self.q_norm = self.k_norm = nn.Identity()
        self.sinks = nn.Parameter(torch.zeros(config.num_attention_heads)) if config.learned_sinks else None

    def forward(self, hidden_states, position_embeddings, attention_mask, past_key_values=None, **kwargs):
        if self.sinks is None:
            return super().forward(hidden_states, position_embeddings, attention_mask, past_key_values, **kwargs)
        by_head = (*hidden_states.shape[:-1], -1, self.head_dim)
        queries = self.q_norm(self.q_proj(hidden_states).view(by_head)).transpose(1, 2)
        keys = self.k_norm(self.k_proj(hidden_states).view(by_head)).transpose(1, 2)
        values = self.v_proj(hidden_states).view(by_head).transpose(1, 2)
        queries, keys = apply_rotary_pos_emb(queries, keys, *position_embeddings)
        if past_key_values is not None:
            keys, values = past_key_values.update(keys, values, self.layer_idx)
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
        dropout = self.attention_dropout if self.training else 0.0
        options = {"dropout": dropout, "scaling": self.scaling, "s_aux": self.sinks, **kwargs}
        mixed, weights = attend(self, queries, keys, values, attention_mask, **options)
        return self.o_proj(mixed.flatten(2)), weights


class ArcticMLP(nn.Module):
    """The dense SwiGLU MLP."""

    def __init__(self, config: ArcticConfig) -> None:
        super().__init__()
        width, inner = config.hidden_size, config.dense_size or config.hidden_size
        self.w1 = nn.Linear(width, inner, bias=False)
        self.w2 = nn.Linear(inner, width, bias=False)
        self.w3 = nn.Linear(width, inner, bias=False)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return self.w2(F.silu(self.w1(hidden_states)) * self.w3(hidden_states))


class ArcticRouter(MixtralTopKRouter):
    """A gate in float32 for any dtype. A bias, if there is one, moves the choice of experts, not their weights."""

    def __init__(self, config: ArcticConfig) -> None:
        super().__init__(config)
        if config.router_bias:
            self.register_buffer("e_score_correction_bias", torch.zeros(self.num_experts))
        else:
            self.e_score_correction_bias = None

    def forward(self, hidden_states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        rows = hidden_states.reshape(-1, self.hidden_dim)
        logits = F.linear(rows.float(), self.weight.float())
        scores = logits.softmax(dim=-1)
        choice = scores if self.e_score_correction_bias is None else scores + self.e_score_correction_bias.float()
        experts = choice.topk(self.top_k, dim=-1).indices
        weights = scores.gather(-1, experts)
        return logits, weights / weights.sum(dim=-1, keepdim=True), experts


class ArcticSparseMoeBlock(nn.Module):
    """Router and experts."""

    def __init__(self, config: ArcticConfig) -> None:
        super().__init__()
        self.gate = ArcticRouter(config)
        self.experts = MixtralExperts(config)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        rows = hidden_states.view(-1, hidden_states.shape[-1])
        _, weights, experts = self.gate(rows)
        return self.experts(rows, experts, weights.to(rows.dtype)).view_as(hidden_states)


class ArcticDecoderLayer(GradientCheckpointingLayer):
    """One layer: see the top of this file."""

    def __init__(self, config: ArcticConfig, layer_idx: int) -> None:
        super().__init__()
        self.shape = config.layer_shape if config.has_experts(layer_idx) else "dense"
        self.self_attn = ArcticAttention(config, layer_idx)
        self.input_layernorm = MixtralRMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        if self.shape != "moe":
            self.residual_mlp = ArcticMLP(config)
        if self.shape in ("hybrid", "dense"):
            self.residual_layernorm = MixtralRMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        if self.shape != "dense":
            self.post_attention_layernorm = MixtralRMSNorm(config.hidden_size, eps=config.rms_norm_eps)
            self.block_sparse_moe = ArcticSparseMoeBlock(config)

    def forward(self, hidden_states: torch.Tensor, **kwargs) -> torch.Tensor:
        attended, _ = self.self_attn(hidden_states=self.input_layernorm(hidden_states), **kwargs)
        attended = hidden_states + attended
        if self.shape in ("shared", "moe"):
            normed = self.post_attention_layernorm(attended)
            dense = attended + self.residual_mlp(normed) if self.shape == "shared" else attended
            return dense + self.block_sparse_moe(normed)
        dense = attended + self.residual_mlp(self.residual_layernorm(attended))
        if self.shape == "dense":
            return dense
        return dense + self.block_sparse_moe(self.post_attention_layernorm(hidden_states))


class ArcticPreTrainedModel(MixtralPreTrainedModel):
    config: ArcticConfig
    _no_split_modules = ["ArcticDecoderLayer"]
    _keep_in_fp32_modules_strict = ["e_score_correction_bias"]
    _can_record_outputs = {
        "router_logits": OutputRecorder(ArcticRouter, index=0),
        "hidden_states": ArcticDecoderLayer,
        "attentions": ArcticAttention,
    }

    def __init__(self, config: ArcticConfig, *inputs, **kwargs) -> None:
        if config.learned_sinks:
            # SDPA has no sinks, and a kernel of flash attention that has none either would leave them out silently.
            self._supports_sdpa = self._supports_flash_attn = False
        super().__init__(config, *inputs, **kwargs)


class ArcticModel(ArcticPreTrainedModel, MixtralModel):
    """Embedding, layers and final norm. `forward` is Mixtral's."""

    def __init__(self, config: ArcticConfig) -> None:
        ArcticPreTrainedModel.__init__(self, config)
        self.padding_idx = config.pad_token_id
        self.vocab_size = config.vocab_size
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size, self.padding_idx)
        self.layers = nn.ModuleList(ArcticDecoderLayer(config, index) for index in range(config.num_hidden_layers))
        self.norm = MixtralRMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.rotary_emb = MixtralRotaryEmbedding(config=config)
        self.gradient_checkpointing = False
        self.post_init()


class ArcticForCausalLM(ArcticPreTrainedModel, MixtralForCausalLM):
    """The language model. `forward` is Mixtral's."""

    def __init__(self, config: ArcticConfig) -> None:
        ArcticPreTrainedModel.__init__(self, config)
        self.model = ArcticModel(config)
        self.vocab_size = config.vocab_size
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.router_aux_loss_coef = config.router_aux_loss_coef
        self.num_experts = config.num_local_experts
        self.num_experts_per_tok = config.num_experts_per_tok
        self.post_init()
