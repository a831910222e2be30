"""For every field of every section of a recipe: values that cannot work, alone or with others.

A field stands under its section with the values that `arctic plan` must refuse. `Wrong` gives one more room: other
fields to set with it, and the place and the text that the message shows instead of `field = value`.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from data_recipes import schema
from data_recipes.annotation import AnswerFieldSection
from data_recipes.curriculum import MixSection, PhaseSection, RopeSection
from data_recipes.finetuning import DpoSection, LoraSection
from data_recipes.refining import FilterSection, ScoreSection
from data_recipes.section import Section
from data_recipes.training import ModelSection, TrainSection


class Wrong(NamedTuple):
    """A value in TOML that cannot work together with `also`, more fields as `--set` takes them."""

    value: str
    also: tuple[str, ...] = ()
    shown: str = ""
    """What the message starts with, if it is not the field with the value."""


HUGE = "1180591620717411303424"
"""2**70: more than a column of whole numbers holds."""
FLOAT = ("nan", "inf", "-inf", '"much"')
POSITIVE_FLOAT = ("0.0", "-1.0", *FLOAT)
NON_NEGATIVE_FLOAT = ("-0.5", *FLOAT)
FRACTION = ("-0.1", "1.5", *FLOAT)
COUNT = ("-1", "1.5", "true", '"many"', HUGE)
POSITIVE = ("0", *COUNT)
SEED = ("-1", "4294967296", "1.5", HUGE)
SWITCH = ("1", '"yes"')
TEXT = ('""', "3")
FREE_TEXT = ("3",)
TEXTS = ('[""]', "[3]", '"one"')
NAME = ('""', '"../up"', '"Big"', "3")
CHOICE = ('"other"', "3", '""')

ABF = ("phases.2.sequence_length=128", 'phases.2.rope={kind="abf", theta=50000.0}')
YARN = ("phases.2.sequence_length=128", 'phases.2.rope={kind="yarn", factor=2.0}')
ANNOTATION = (
    '{name="topics", server="http://127.0.0.1:1/v1", model="m", prompt="{text}", '
    'answer={score={type="integer", minimum=0, maximum=5}, topic={type="string"}}}'
)
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
            # What a section is made of stands below; here is a section that is none.
            **dict.fromkeys(("tokenizer", "tokenize", "mix", "model", "train", "evaluate"), ("3", "[]")),
            "phases": ("[]", "3"),
            "amendments": (
                "3",
                Wrong("[3]", shown="amendments.1"),
                Wrong(
                    "[{from_step=2, train.peak_lr=0.1}, {from_step=2, train.beta1=0.5}]",
                    shown="amendments.2.from_step = 2",
                ),
                Wrong(
                    "[{from_step=3, train.peak_lr=0.1}, {from_step=2, train.beta1=0.5}]",
                    shown="amendments.2.from_step = 2",
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
                "targets": ("[]", '"attention"'),
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
                Wrong(
                    '{kind="abf", theta=50000.0}', shown="phases.1.rope = 'abf': the phase has sequences of 64 tokens"
                ),
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
            "num_workers": (*POSITIVE, Wrong("3", shown="train.global_batch_sequences = 4")),
            "expert_parallel_size": (*POSITIVE, "2"),
            **dict.fromkeys(("optimizer", "schedule", "activation_checkpointing"), CHOICE),
            **dict.fromkeys(
                [
                    "peak_lr",
                    "embedding_lr_factor",
                    "head_lr_factor",
                    "gate_lr_factor",
                    "norm_lr_factor",
                    "gradient_clip",
                    "cpus_per_worker",
                    "peak_tflops",
                    "price_per_worker_hour",
                ],
                POSITIVE_FLOAT,
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
            "zero_stage": ("3", "-1", "true", Wrong("0", ('train.dtype="bfloat16"',))),
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
    schema.EvaluateSection: (
        "evaluate.",
        {
            **dict.fromkeys(
                ["heldout_bytes_per_document", "max_new_tokens", "items_per_task", "num_actors", "tokens_per_batch"],
                POSITIVE,
            ),
            "heldout_bytes_per_corpus": POSITIVE,
            "text_to_sql_questions": (*COUNT, Wrong("5", shown="evaluate.text_to_sql_questions = 5, but no corpus")),
            "tasks": (
                Wrong('["spyder"]', shown="evaluate.tasks.1 = 'spyder': no such task"),
                Wrong('["smoke", ""]', shown="evaluate.tasks.2 = ''"),
                '"smoke"',
            ),
            "chat": (*CHOICE, "true"),
            "data_root": TEXT,
            "cpus_per_actor": POSITIVE_FLOAT,
            "gpus_per_actor": FRACTION,
            "unsafe_execution": ('"yes"', "true"),
        },
    ),
}

CORPUS: Mapping[type[Section], tuple[str, Mapping[str, Sequence[str | Wrong]]]] = {
    schema.CorpusRecipe: (
        "",
        {
            "name": NAME,
            "description": FREE_TEXT,
            **dict.fromkeys(("source", "score", "filter", "dedup"), ("3", "[]")),
            "annotate": (
                *("3", Wrong("[3]", shown="annotate.1")),
                Wrong(f"[{ANNOTATION}, {ANNOTATION}]", shown="annotate.2.name = 'topics'"),
            ),
            "stages": ("3", Wrong("[3]", shown="stages.1")),
        },
    ),
    AnswerFieldSection: (
        "annotate.1.answer.score.",
        {
            name: [Wrong(value, (f"annotate=[{ANNOTATION}]",), shown) for value, shown in values.items()]
            for name, values in {
                "type": {'"float"': "", "3": ""},
                "choices": {'["good"]': "annotate.1.answer.score.choices = ['good']", "3": ""},
                "minimum": {'"low"': "", "6": "annotate.1.answer.score.minimum = 6.0 is more than", "nan": ""},
                "maximum": {'"high"': "", "-1": "annotate.1.answer.score.minimum = 0.0 is more than", "inf": ""},
                "description": {"3": ""},
            }.items()
        },
    ),
    schema.SourceSection: (
        "source.",
        {
            "inputs": ("[]", Wrong("[{}]", shown="source.inputs.1.kind: missing"), "3"),
            "extractor": CHOICE,
            "text_format": CHOICE,
            "heldout_fraction": ("1.0", *FRACTION),
            "max_quarantined_fraction": FRACTION,
        },
    ),
    ScoreSection: (
        "score.",
        {
            "url_lists": (
                Wrong('["gone.txt"]', shown="score.url_lists.1 = 'gone.txt'"),
                Wrong('["empty.txt"]', shown="score.url_lists.1 = 'empty.txt'"),
                Wrong('[""]', shown="score.url_lists.1 = ''"),
            ),
            "word_lists": (
                Wrong('["gone.txt"]', shown="score.word_lists.1 = 'gone.txt'"),
                Wrong("[3]", shown="score.word_lists.1 = 3"),
            ),
            "arbitrate_language": SWITCH,
            "phone_regions": (
                Wrong('["XX"]', shown="score.phone_regions.1 = 'XX'"),
                Wrong('["DE", "de"]', shown="score.phone_regions.2 = 'de'"),
            ),
            "quality_model": ('"gone.bin"', '"empty.txt"', "3"),
            "quality_label": ('"__label__hq"', "3"),
            "scorers": ("3", Wrong("[{}]", shown="score.scorers.1.kind: missing")),
            "decontaminate": ("3", Wrong("[{}]", shown="score.decontaminate.1.name: missing")),
        },
    ),
    FilterSection: (
        "filter.",
        {
            "labels": ("3", Wrong("[{}]", shown="filter.labels.1.annotation: missing")),
            "takedown": (
                Wrong('["gone.txt"]', shown="filter.takedown.1 = 'gone.txt'"),
                Wrong('["words.txt"]', shown="filter.takedown.1 = 'words.txt'"),
                Wrong('[""]', shown="filter.takedown.1 = ''"),
            ),
            **dict.fromkeys(
                ["respect_opt_out", "drop_noindex", "drop_listed_urls", "drop_lorem_ipsum", "drop_curly_brackets"],
                SWITCH,
            ),
            "allowed_licences": (
                Wrong('[""]', shown="filter.allowed_licences.1 = ''"),
                Wrong('["MIT"]', ('filter.denied_licences=["mit"]',), "filter.denied_licences = ['mit']"),
            ),
            "denied_licences": (
                Wrong('[""]', shown="filter.denied_licences.1 = ''"),
                Wrong('["GPL-3.0"]', ('filter.allowed_licences=["GPL-3.0"]',)),
            ),
            "max_listed_words": (*COUNT, Wrong("2", shown="filter.max_listed_words = 2: the score listed_words is 0")),
            "languages": (
                Wrong('["english"]', shown="filter.languages.1 = 'english'"),
                Wrong('["en", "eng"]', shown="filter.languages.2 = 'eng'"),
            ),
            "min_words": (*COUNT, "100001"),
            "max_words": (*POSITIVE, Wrong("20", shown="filter.min_words = 50 is more than max_words = 20")),
            "min_mean_word_length": (*NON_NEGATIVE_FLOAT, "10.5"),
            "max_mean_word_length": (*POSITIVE_FLOAT, Wrong("2.0", shown="filter.min_mean_word_length = 3.0 is more")),
            **dict.fromkeys(("max_symbol_to_word_ratio", "max_newlines_per_word"), NON_NEGATIVE_FLOAT),
            "min_stop_words": (*COUNT, "50"),
            "min_c4_sentences": COUNT,
            "min_quality": (*FRACTION, Wrong("0.5", shown="filter.min_quality = 0.5: the score quality is 0")),
            "max_contamination": (*FRACTION, Wrong("0.5", shown="filter.max_contamination = 0.5: the score")),
            "rules": ("3", Wrong("[{}]", shown="filter.rules.1.kind: missing")),
            "redact": (Wrong('["name"]', shown="filter.redact.1 = 'name'"), '"email"'),
            **dict.fromkeys(
                [
                    "min_language_margin",
                    "max_code_lines_fraction",
                    "max_duplicate_code_characters_fraction",
                    "max_bullet_lines_fraction",
                    "max_ellipsis_lines_fraction",
                    "min_alpha_words_fraction",
                    "max_duplicate_line_fraction",
                    "max_duplicate_paragraph_fraction",
                    "max_duplicate_line_characters_fraction",
                    "max_duplicate_paragraph_characters_fraction",
                    "max_top_2gram_fraction",
                    "max_top_3gram_fraction",
                    "max_top_4gram_fraction",
                    "max_duplicate_5gram_fraction",
                    "max_duplicate_6gram_fraction",
                    "max_duplicate_7gram_fraction",
                    "max_duplicate_8gram_fraction",
                    "max_duplicate_9gram_fraction",
                    "max_duplicate_10gram_fraction",
                    "max_c4_dropped_lines_fraction",
                    "max_javascript_lines_fraction",
                    "max_policy_lines_fraction",
                    "min_punctuated_lines_fraction",
                    "max_short_lines_fraction",
                ],
                FRACTION,
            ),
        },
    ),
    schema.DedupSection: (
        "dedup.",
        {
            "ngram": (*POSITIVE, "1001", Wrong("4", ('dedup.against=["old"]',))),
            "num_bands": (*POSITIVE, "10001", Wrong("8", ('dedup.against=["old"]',))),
            "rows_per_band": ("33", *POSITIVE, Wrong("4", ('dedup.against=["old"]',))),
            "seed": (*SEED, Wrong("2", ('dedup.against=["old"]',))),
            **dict.fromkeys(("jaccard_threshold", "containment_threshold", "max_removed_fraction"), FRACTION),
            **dict.fromkeys(("max_bucket", "max_cluster_size"), POSITIVE),
            "against": (
                '["old", "old"]',
                Wrong('["gone"]', shown="dedup.against has 'gone'"),
                Wrong('["notes"]', shown="dedup.against goes in a circle: notes -> notes"),
                Wrong('["../old"]', shown="dedup.against.1 = '../old'"),
            ),
            "on_alarm": CHOICE,
        },
    ),
}
