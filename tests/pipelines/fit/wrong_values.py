"""For every field of every section of a recipe: values that cannot work, alone or with others.

A field is listed under its section with the values that `arctic plan` must refuse. `Wrong` allows more: other fields to
set with it, and the path and the text that the message shows instead of `field = value`.
"""

from collections.abc import Mapping, Sequence

from data_recipes import schema
from data_recipes.section import Section
from data_recipes.sections.curriculum import MixSection, PhaseSection, RopeSection
from data_recipes.sections.finetuning import DpoSection, LoraSection
from data_recipes.sections.training import ModelSection, TrainSection
from tests.pipelines.fit.wrong import (
    CHOICE,
    COUNT,
    FLOAT,
    FRACTION,
    FREE_TEXT,
    NAME,
    NON_NEGATIVE_FLOAT,
    POSITIVE,
    POSITIVE_FLOAT,
    SEED,
    SWITCH,
    Wrong,
)

ABF = ("phases.2.sequence_length=128", 'phases.2.rope={kind="abf", theta=50000.0}')
YARN = ("phases.2.sequence_length=128", 'phases.2.rope={kind="yarn", factor=2.0}')
LATER = "{from_step=2, train.beta1=0.5}"
FINETUNE = 'finetune=[{name="tuned", from="one", epochs={notes=1.0}, peak_lr=0.001}]'
RUN: Mapping[type[Section], tuple[str, Mapping[str, Sequence[str | Wrong]]]] = {
    schema.RunRecipe: (
        "",
        {
            "name": NAME,
            "description": FREE_TEXT,
            "corpora": (
                "[]",
                *(Wrong(value, shown="corpora.1") for value in ('[""]', "[3]", '["gone.toml"]')),
                Wrong('["notes.toml", "notes.toml"]', shown="corpora.2 = 'notes.toml'"),
            ),
            # The fields of a section are listed below; this section is invalid.
            **dict.fromkeys(("tokenizer", "tokenize", "mix", "model", "train", "evaluate"), ("3", "[]")),
            "phases": ("[]", "3"),
            "amendments": (
                "3",
                Wrong("[3]", shown="amendments.1"),
                *(
                    Wrong(f"[{{from_step={step}, train.peak_lr=0.1}}, {LATER}]", shown="amendments.2.from_step = 2")
                    for step in (2, 3)
                ),
                # In the second phase six steps of 256 tokens are 1.5 of 1024.
                Wrong(
                    "[{from_step=6, train.global_batch_sequences=16}]",
                    shown="amendments.1.from_step = 6: 512 tokens are left of the phase",
                ),
            ),
            "export": ("3", Wrong("[3]", shown="export.1")),
            "finetune": ("3", Wrong("[3]", shown="finetune.1")),
            "stages": ("3", Wrong("[3]", shown="stages.1")),
        },
    ),
    LoraSection: (
        "finetune.1.lora.",
        {
            name: [Wrong(value, (FINETUNE,)) for value in values]
            for name, values in {
                "rank": (*POSITIVE, "4097"),
                "alpha": POSITIVE_FLOAT,
                "rslora": SWITCH,
                "dropout": ("-0.1", "1.0", "[]"),
                "targets": ("[]", '"attention"', '["dense", "dense"]'),
                "quantize_base": SWITCH,
            }.items()
        },
    ),
    DpoSection: (
        "finetune.1.dpo.",
        {
            name: [Wrong(value, (FINETUNE, 'finetune.1.objective="dpo"')) for value in values]
            for name, values in {"beta": POSITIVE_FLOAT, "label_smoothing": ("-0.1", "0.5", "[]")}.items()
        },
    ),
    schema.TokenizerSection: (
        "tokenizer.",
        {
            "vocab_size": ("259", "1048577", "300.5"),
            "sample_bytes_per_corpus": (
                *POSITIVE,
                Wrong("1000", ('tokenizer.path="gone.json"', 'tokenizer.end_token="<end>"'), "tokenizer.path = "),
            ),
            "path": (Wrong('"gone.json"', shown="tokenizer.path = 'gone.json' and"), "3"),
            "end_token": ('"<end>"', "3"),
        },
    ),
    schema.TokenizeSection: (
        "tokenize.",
        {
            "sequence_length": (
                *("7", "2147483648", "64.0"),
                Wrong("256", ("phases.1.tokens=1024",)),
                Wrong("48", shown="phases.1.tokens = 1024"),
            ),
            "long_conversations": CHOICE,
        },
    ),
    MixSection: (
        "mix.",
        {
            "max_epochs": POSITIVE_FLOAT,
            "max_epochs_per_corpus": (
                Wrong("{notes=0.0}", shown="mix.max_epochs_per_corpus.notes = 0.0"),
                Wrong("{nots=1.0}", shown="mix.max_epochs_per_corpus.nots = 1.0"),
            ),
            "quality_power": (
                Wrong("{notes=nan}", shown="mix.quality_power.notes = nan"),
                Wrong("{notes=1e6}", shown="mix.quality_power.notes = 1000000.0"),
                Wrong("{web=1.0}", shown="mix.quality_power.web = 1.0"),
                Wrong("{notes=1.0}", shown="mix.quality_power.notes = 1: the score quality is 0"),
            ),
            "rehydrate": (Wrong('["web"]', shown="mix.rehydrate.1 = 'web'"), "3"),
            "copies_by_cluster_size": (
                *("[]", "[[2, 2]]", "[[1, 1], [1, 2]]"),
                Wrong("[[1, 0]]", shown="mix.copies_by_cluster_size.1.2 = 0"),
                Wrong("[[1]]", shown="mix.copies_by_cluster_size.1 = [1]"),
            ),
            "upsample_long": ("0.5", "101.0", *FLOAT),
            "seed": SEED,
        },
    ),
    RopeSection: (
        "phases.2.rope.",
        {
            "kind": tuple(Wrong(value, ABF) for value in (*CHOICE, '"yarn"')),
            "theta": (
                *(Wrong(value, ABF) for value in POSITIVE_FLOAT),
                Wrong("5000.0", ABF, "phases.2.rope.theta = 5000: the base is 10000 before"),
            ),
            **{
                name: tuple(Wrong(value, YARN) for value in values)
                for name, values in {
                    "factor": ("1.0", "10001.0", *POSITIVE_FLOAT),
                    "beta_fast": ("1.0", *POSITIVE_FLOAT),
                    "beta_slow": POSITIVE_FLOAT,
                    "attention_factor": POSITIVE_FLOAT,
                }.items()
            },
        },
    ),
    PhaseSection: (
        "phases.1.",
        {
            "name": (*NAME, Wrong('"two"', shown="phases.2.name = 'two'")),
            # The last: more sequences than the order of a phase can count.
            "tokens": (*POSITIVE, "1000", "1024.0", "409600000000000"),
            "weights": (
                Wrong("{notes=0.5}", shown="phases.1.weights sum to 0.5"),
                Wrong("{web=1.0}", shown="phases.1.weights.web = 1.0"),
                Wrong("{notes=1.5, web=-0.5}", shown="phases.1.weights.notes = 1.5"),
                Wrong("{notes=nan}", shown="phases.1.weights.notes = nan"),
                "{}",
            ),
            "weights_to": (
                Wrong("{notes=0.5}", shown="phases.1.weights_to sum to 0.5"),
                Wrong("{web=1.0}", shown="phases.1.weights_to.web = 1.0"),
                Wrong("{notes=1.0}", ("phases.1.weights={}", "phases.1.tokens_per_corpus={notes=1024}")),
            ),
            "tokens_per_corpus": (
                Wrong("{notes=1024}", shown="phases.1.weights = {'notes': 1.0}, tokens_per_corpus = {'notes': 1024}"),
                Wrong("{notes=512}", ("phases.1.weights={}",), "phases.1.tokens = 1024"),
                Wrong("{notes='all'}", ("phases.1.weights={}",), "phases.1.tokens_per_corpus.notes = 'all'"),
                Wrong("{web=1024}", ("phases.1.weights={}",), "phases.1.tokens_per_corpus.web = 1024"),
                Wrong("{notes=1023, web=1}", ("phases.1.weights={}",), "phases.1.tokens_per_corpus.notes = 1023"),
            ),
            "order": (*CHOICE, Wrong('"easy_to_hard"', shown="phases.1.order_by = '' with order = 'easy_to_hard'")),
            "order_by": (
                *('"words"', "3"),
                *(
                    Wrong(value, ('phases.1.order="easy_to_hard"',))
                    # No column, a column of text, one of truth values, and two that nothing measures here.
                    for value in ('"nonsense"', '"language"', '"lorem_ipsum"', '"quality"', '"contamination"')
                ),
            ),
            "sequence_length": (*POSITIVE, "7", Wrong("48", shown="phases.1.tokens = 1024")),
            "rope": (
                "3",
                Wrong("{}", shown="phases.1.rope.kind: missing"),
                Wrong('{kind="abf", theta=50000.0}', shown="phases.1.rope = 'abf': the phase has sequences of 64 tok"),
                Wrong('{kind="abf"}', shown="phases.1.rope.kind = 'abf' without theta"),
                Wrong(
                    '{kind="yarn", factor=2.0, theta=1e6}', shown="phases.1.rope.theta = 1000000.0 with kind = 'yarn'"
                ),
                Wrong(
                    '{kind="yarn", factor=1.5}', ("phases.1.sequence_length=128",), "phases.1.rope.factor = 1.5: makes"
                ),
            ),
            "train": (
                "3",
                Wrong("{peak_lr=0.0}", shown="phases.1.train.peak_lr = 0.0"),
                Wrong("{peak_rate=0.1}", shown="phases.1.train.peak_rate = 0.1"),
                Wrong("{seed=1}", shown="phases.1.train.seed = 1"),
                Wrong('{optimizer="adamw"}', shown="phases.1.train.optimizer = 'adamw'"),
                Wrong("{micro_batch_sequences=3}", shown="phases.1.train.global_batch_sequences = 4"),
                Wrong("{global_batch_sequences=12}", shown="phases.1.tokens = 1024"),
                Wrong("{norm_lr_factor=2.0}", ('train.optimizer="adamw"',), "phases.1.train.norm_lr_factor = 2 with"),
                Wrong("{balance_bias_rate=0.001}", shown="phases.1.train.balance_bias_rate = 0.001"),
                Wrong("{expert_parallel_size=2}", shown="phases.1.train.expert_parallel_size = 2"),
                Wrong('{freeze=["layers"]}', shown="phases.1.train.freeze.1 = 'layers'"),
                Wrong(
                    '{freeze=["head", "dense"]}',
                    ("model.overrides={tied_head=true}",),
                    "phases.1.train.freeze = ['dense', 'head']: the model has no weights of the part 'head'",
                ),
            ),
        },
    ),
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
                    )
                ),
                Wrong("{rms_norm_eps=nan}", shown="model.overrides.rms_norm_eps = nan"),
                Wrong("{router_bias=1}", shown="model.overrides.router_bias = 1"),
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
                    "train.capacity_factor = 1 with model.overrides.num_experts = 0",
                ),
                Wrong(
                    "{tied_head=true}",
                    ("train.head_lr_factor=0.5",),
                    "train.head_lr_factor = 0.5 with model.overrides.tied_head = True",
                ),
                Wrong("{max_positions=32}", shown="tokenize.sequence_length = 64 is more than model.overrides.max_pos"),
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
            **dict.fromkeys(("optimizer", "schedule", "activation_checkpointing"), CHOICE),
            **dict.fromkeys(
                [
                    *("peak_lr", "gradient_clip", "cpus_per_worker", "peak_tflops", "price_per_worker_hour"),
                ],
                POSITIVE_FLOAT,
            ),
            **dict.fromkeys(
                ("embedding_lr_factor", "head_lr_factor", "gate_lr_factor", "norm_lr_factor"),
                (*POSITIVE_FLOAT, Wrong("0.5", ('train.optimizer="adamw"',))),
            ),
            **dict.fromkeys(("final_lr_fraction", "decay_fraction", "balance_bias_rate"), FRACTION),
            **dict.fromkeys(("beta1", "beta2"), ("1.0", *FRACTION)),
            **dict.fromkeys(
                ("weight_decay", "balance_loss_coefficient", "z_loss_coefficient", "capacity_factor"),
                NON_NEGATIVE_FLOAT,
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
            "warmup_tokens": (*COUNT, "2049"),
            "spike_factor": ("1.0", *FLOAT),
            "spike_window_steps": ("3", *COUNT, Wrong("10", shown="train.max_skipped_steps = 10 of spike_window_ste")),
            "max_skipped_steps": (*COUNT, "128"),
            "dtype": (
                *CHOICE,
                Wrong('"bfloat16"', ("train.zero_stage=0",), "train.zero_stage = 0 with train.dtype = 'bfloat16'"),
            ),
            "gradient_dtype": (*CHOICE, '"bfloat16"'),
            "fp8": ("1", Wrong("true", ('train.dtype="float32"',), "train.fp8 = True with train.dtype = 'float32'")),
            **dict.fromkeys(("engine", "keep_optimizer_states"), CHOICE),
            "deterministic": ('"yes"', "1"),
            "nccl_max_ctas": (*COUNT, "65"),
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
                name: (*COUNT, Wrong("150", shown=f"train.{name} = 150 is not a multiple"))
                for name in ("keep_every_steps", "keep_weights_every_steps")
            },
            "seed": SEED,
            "gpus_per_worker": (*FRACTION, Wrong("0.5", ("train.num_workers=2", "train.micro_batch_sequences=2"))),
            "threads_per_worker": (*POSITIVE, "5000"),
            "collective_timeout_s": (*POSITIVE_FLOAT, "1e12"),
            # The run has eight steps.
            "profile_steps": ('"3"', '"3:1"', '"0:2"', '"9:10"', '"a:b"', "3"),
        },
    ),
}
