"""As `wrong_values`, for the model and its training."""

from collections.abc import Mapping, Sequence

from data_recipes.section import Section
from data_recipes.sections.training import ModelSection, TrainSection
from tests.pipelines.fit.wrong import (
    CHOICE,
    COUNT,
    FLOAT,
    FRACTION,
    NAME,
    NO_PHASES,
    NON_NEGATIVE_FLOAT,
    ONE_PHASE,
    POSITIVE,
    POSITIVE_FLOAT,
    SEED,
    Wrong,
)

TRAINING: Mapping[type[Section], tuple[str, Mapping[str, Sequence[str | Wrong]]]] = {
    ModelSection: (
        "model.",
        {
            "preset": (*NAME, '"huge"'),
            "init_from": ("3", Wrong('"nowhere"', shown="model.init_from = 'nowhere': ")),
            "init_optimizer": ('"yes"', Wrong("true", shown="model.init_optimizer = true without init_from")),
            "overrides": (
                *(
                    Wrong(f"{{{name}={value}}}", shown=f"model.overrides.{name} = {value}")
                    for name, value in (
                        *(("width", 3), ("num_layers", 0), ("num_layers", 1.5), ("num_layers", 2**70)),
                        *(("vocab_size", 299), ("hidden_size", -1), ("expert_size", 0), ("num_heads", 3)),
                        *(("num_kv_heads", 3), ("top_k", 5), ("rope_theta", 0.0), ("init_std", -1.0)),
                        *(("head_size", 1), ("router_bias", 1), ("qk_norm", 1), ("qkv_bias", 1), ("yarn_factor", 1.5)),
                        *(("yarn_original_positions", 64), ("yarn_beta_fast", 16.0), ("yarn_beta_slow", 2.0)),
                        ("yarn_attention_factor", 1.5),
                    )
                ),
                Wrong("{rms_norm_eps=nan}", shown="model.overrides.rms_norm_eps = nan: must be above 0, and finite"),
                Wrong("{num_layers=inf}", shown="model.overrides.num_layers = inf: must be a whole number"),
                Wrong("{learned_sinks=1}", shown="model.overrides.learned_sinks = 1: must be true or false"),
                Wrong(
                    "{learned_sinks=true}",
                    ('export=[{name="one",to="gguf"}]',),
                    "export.1.to = 'gguf': llama.cpp cannot compute learned sinks",
                ),
                Wrong("{num_experts='all'}", shown="model.overrides.num_experts = 'all'"),
                Wrong("{layer_shape='parallel'}", shown="model.overrides.layer_shape = 'parallel': must be hybrid"),
                Wrong("{moe_layer_frequency=99}", shown="model.overrides.moe_layer_frequency = 99 is more than"),
                Wrong(
                    "{num_experts=0}",
                    ("train.num_workers=2", "train.expert_parallel_size=2", "train.micro_batch_sequences=2"),
                    "train.expert_parallel_size = 2 with model.overrides.num_experts = 0: there are no experts",
                ),
                Wrong(
                    "{num_experts=0}",
                    ("train.capacity_factor=1.0",),
                    "train.capacity_factor = 1.0 with model.overrides.num_experts = 0",
                ),
                Wrong(
                    "{tied_head=true}",
                    ("train.head_lr_factor=0.5",),
                    "train.head_lr_factor = 0.5 with model.overrides.tied_head = True",
                ),
                *(
                    Wrong(
                        f"{{num_experts=0, {name}=1}}", shown=f"model.overrides.{name} = 1 with model.overrides.num_e"
                    )
                    for name in ("top_k", "expert_size")
                ),
                Wrong(
                    "{layer_shape='moe', dense_size=64}",
                    shown="model.overrides.dense_size = 64 with model.overrides.layer_shape = 'moe'",
                ),
                Wrong(
                    "{max_positions=32}",
                    shown="tokenize.sequence_length = 64 is more than model.overrides.max_positions",
                ),
                Wrong("{hidden_size=36, num_heads=4}", shown="model.overrides.hidden_size = 36 over"),
                Wrong(
                    "{num_experts=7}",
                    ("train.num_workers=2", "train.expert_parallel_size=2", "train.micro_batch_sequences=2"),
                    "train.expert_parallel_size = 2 does not divide model.overrides.num_experts = 7",
                ),
            ),
        },
    ),
    TrainSection: (
        "train.",
        {
            "global_batch_sequences": (*POSITIVE, "6", Wrong("12", shown="phases.1.tokens = 1024")),
            "micro_batch_sequences": (*POSITIVE, Wrong("3", shown="train.global_batch_sequences = 4")),
            "num_workers": (
                *POSITIVE,
                Wrong("3", shown="train.global_batch_sequences = 4"),
                Wrong("[2, 1]", shown="train.num_workers = [2, 1]: the first number must be below the second"),
                Wrong(
                    "[1, 3]", ("train.micro_batch_sequences=1",), "train.global_batch_sequences = 4 is not a multiple"
                ),
                Wrong(
                    "[1, 2]",
                    ("train.micro_batch_sequences=2", "train.expert_parallel_size=2"),
                    "train.expert_parallel_size = 2 does not divide train.num_workers = 1",
                ),
                Wrong("[0, 2]", shown="train.num_workers"),
                Wrong("[1]", shown="train.num_workers"),
            ),
            "expert_parallel_size": (*POSITIVE, "2"),
            "context_parallel_size": (
                *POSITIVE,
                Wrong("2", shown="train.context_parallel_size = 2 does not divide train.num_workers = 1"),
                Wrong(
                    "3", ("train.num_workers=3",), "train.context_parallel_size = 3: sequences are cut into 6 chunks"
                ),
                Wrong(
                    "2", ("train.num_workers=12",), "train.global_batch_sequences = 4 is not a multiple of micro_bat"
                ),
                Wrong(
                    "2", ("train.num_workers=2", "train.capacity_factor=1.5"), "train.context_parallel_size = 2 with"
                ),
            ),
            **dict.fromkeys(("optimizer", "activation_checkpointing"), CHOICE),
            "schedule": (*CHOICE, Wrong('"cosine"', NO_PHASES)),
            **dict.fromkeys(
                ("peak_lr", "gradient_clip", "cpus_per_worker", "peak_tflops", "price_per_worker_hour"),
                POSITIVE_FLOAT,
            ),
            **{
                f"{factor}_lr_factor": (
                    *POSITIVE_FLOAT,
                    Wrong("0.5", ('train.optimizer="adamw"',)),
                    Wrong("0.5", (f'train.freeze=["{part}"]',)),
                )
                for factor, part in (
                    ("embedding", "embeddings"),
                    ("head", "head"),
                    ("gate", "router"),
                    ("norm", "norms"),
                )
            },
            "final_lr_fraction": (*FRACTION, Wrong("0.5", ("train.decay_fraction=0.0",)), Wrong("0.5", NO_PHASES)),
            "decay_fraction": (*FRACTION, Wrong("0.5", ('train.schedule="cosine"',)), Wrong("0.5", NO_PHASES)),
            "balance_bias_rate": (
                *FRACTION,
                Wrong("0.001", ('train.freeze=["router"]',)),
                Wrong("0.001", ("model.overrides.num_experts=0",)),
            ),
            **dict.fromkeys(("beta1", "beta2"), ("1.0", *FRACTION)),
            "weight_decay": (*NON_NEGATIVE_FLOAT, Wrong("0.5", NO_PHASES)),
            **dict.fromkeys(
                ("balance_loss_coefficient", "z_loss_coefficient", "capacity_factor"),
                (*NON_NEGATIVE_FLOAT, Wrong("0.5", ("model.overrides.num_experts=0",))),
            ),
            "freeze": (
                "3",
                Wrong('["layers"]', shown="train.freeze.1 = 'layers'"),
                Wrong('["head", "head"]', shown="train.freeze = ['head', 'head']"),
                Wrong(
                    '["embeddings", "attention", "dense", "router", "experts", "norms", "head"]',
                    shown="train.freeze = ['attention', 'dense', 'embeddings', 'experts', 'head', 'norms', 'router']: "
                    "nothing is left to train",
                ),
                Wrong(
                    '["router"]', ("model.overrides={num_experts=0}",), "train.freeze = ['router']: the model has no"
                ),
                Wrong('["dense"]', ("model.overrides={layer_shape='moe'}",), "train.freeze = ['dense']: the model has"),
            ),
            "warmup_tokens": (*COUNT, "2049", Wrong("256", NO_PHASES)),
            "spike_factor": ("1.0", *FLOAT),
            "spike_window_steps": ("3", *COUNT, Wrong("10", shown="train.max_skipped_steps = 10 of spike_window_ste")),
            "max_skipped_steps": (*COUNT, "128"),
            "dtype": (
                *CHOICE,
                Wrong('"bfloat16"', ("train.zero_stage=0",), "train.zero_stage = 0 with train.dtype = 'bfloat16'"),
            ),
            "gradient_dtype": (*CHOICE, '"bfloat16"'),
            "fp8": ("1", Wrong("true", ('train.dtype="float32"',), "train.fp8 = True with train.dtype = 'float32'")),
            "engine": CHOICE,
            "keep_optimizer_states": (*CHOICE, Wrong('"last"', (ONE_PHASE,))),
            "deterministic": ('"yes"', "1"),
            "nccl_max_ctas": (*COUNT, "65", "8"),
            "zero_stage": ("4", "3", "-1", "true", Wrong("0", ('train.dtype="bfloat16"',))),
            "shard_group_size": (
                *COUNT,
                Wrong("1", shown="train.shard_group_size = 1 with train.engine = 'deepspeed'"),
                Wrong("2", ('train.engine="flat"',), "train.shard_group_size = 2 does not divide train.num_workers"),
                Wrong("1", ('train.engine="flat"', "train.zero_stage=0"), "train.shard_group_size = 1 with train.zero"),
            ),
            **dict.fromkeys(("checkpoint_every_steps", "keep_last_checkpoints"), POSITIVE),
            "keep_best_checkpoints": COUNT,
            **{
                name: (*COUNT, "100", Wrong("150", shown=f"train.{name} = 150 is not a multiple"))
                for name in ("keep_every_steps", "keep_weights_every_steps")
            },
            "seed": SEED,
            "gpus_per_worker": (*FRACTION, Wrong("0.5", ("train.num_workers=2", "train.micro_batch_sequences=2"))),
            "threads_per_worker": (*POSITIVE, "5000"),
            "collective_timeout_s": (*POSITIVE_FLOAT, "1e12"),
            # The run has eight steps.
            "profile_steps": ('"3"', '"3:1"', '"0:2"', '"9:10"', '"a:b"', "3", Wrong('"2:3"', NO_PHASES)),
        },
    ),
}
