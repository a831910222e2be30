# Copyright 2026 The Arctic pretraining authors.
#
# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in compliance with
# the License. You may obtain a copy of the License at http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software distributed under the License is distributed on an
# "AS IS" BASIS, WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the License for the
# specific language governing permissions and limitations under the License.
"""Configuration of Arctic's dense-MoE hybrid for `transformers`. Needs no package but `transformers`."""

from transformers import MixtralConfig


class ArcticConfig(MixtralConfig):
    """Mixtral's fields, and those of Arctic's own.

    `intermediate_size` is the width of one expert. The dense MLP is `dense_size` wide, or as wide as the model. A model
    with `num_local_experts = 0` has dense layers only.
    """

    model_type = "arctic"
    default_theta = 10_000.0
    base_model_tp_plan = {
        "layers.*.self_attn.q_proj": "colwise",
        "layers.*.self_attn.k_proj": "colwise",
        "layers.*.self_attn.v_proj": "colwise",
        "layers.*.self_attn.o_proj": "rowwise",
        "layers.*.self_attn.sinks": "colwise",
        "layers.*.residual_mlp.w1": "colwise",
        "layers.*.residual_mlp.w3": "colwise",
        "layers.*.residual_mlp.w2": "rowwise",
        "layers.*.block_sparse_moe.experts.gate_up_proj": "packed_colwise",
        "layers.*.block_sparse_moe.experts.down_proj": "rowwise",
        "layers.*.block_sparse_moe.experts": "moe_tp_experts",
    }
    base_model_ep_plan = {
        "layers.*.block_sparse_moe.experts.gate_up_proj": "grouped_gemm",
        "layers.*.block_sparse_moe.experts.down_proj": "grouped_gemm",
        "layers.*.block_sparse_moe.experts": "ep_dispatch_experts",
    }

    moe_layer_frequency: int = 1
    use_residual: bool = True
    parallel_attn_mlp_res: bool = True
    moe_token_dropping: bool = False
    norm_topk_prob: bool = True
    router_bias: bool = False
    layer_shape: str = "hybrid"
    dense_size: int | None = None
    qk_norm: bool = False
    qkv_bias: bool = False
    learned_sinks: bool = False
    attention_bias: bool = False

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        if self.head_dim is None:
            self.head_dim = self.hidden_size // self.num_attention_heads
        if self.num_key_value_heads == 1:
            # Every worker of a tensor-parallel group needs the head, and its heads of queries read no other.
            shared = ("layers.*.self_attn.k_proj", "layers.*.self_attn.v_proj")
            self.base_model_tp_plan = {
                name: style for name, style in self.base_model_tp_plan.items() if name not in shared
            }
        is_parallel = self.layer_shape == "hybrid"
        if self.layer_shape not in ("hybrid", "shared", "moe") or self.attention_bias:
            raise ValueError(f"No such model: {self.layer_shape=}, {self.attention_bias=}.")
        if self.use_residual != is_parallel or self.parallel_attn_mlp_res != is_parallel:
            raise ValueError(
                f"use_residual and parallel_attn_mlp_res must be {str(is_parallel).lower()} if layer_shape is "
                f'"{self.layer_shape}".'
            )

    def has_experts(self, layer_idx: int) -> bool:
        """Whether the layer of this number has experts: every `moe_layer_frequency`-th one."""
        return self.num_local_experts > 0 and (layer_idx + 1) % self.moe_layer_frequency == 0
