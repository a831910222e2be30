"""For every field of every section of a recipe: values that cannot work, alone or with others.

A field is listed under its section with the values that `arctic plan` must refuse. `Wrong` allows more: other fields to
set with it, and the path and the text that the message shows instead of `field = value`.
"""

from collections.abc import Mapping, Sequence

from data_recipes import schema
from data_recipes.section import Section
from data_recipes.sections.curriculum import MixSection, PhaseSection, RopeSection
from data_recipes.sections.finetuning import DpoSection, LoraSection
from tests.pipelines.fit.wrong import (
    CHOICE,
    FLOAT,
    FREE_TEXT,
    NAME,
    NO_PHASES,
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
                "trained_tokens": ("3", '"one"', '["<|im_end|>", "<|im_end|>"]', '["gone"]'),
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
            "long_conversations": (
                *CHOICE,
                Wrong('"truncate"', shown="tokenize.long_conversations = 'truncate' with finetune"),
            ),
        },
    ),
    MixSection: (
        "mix.",
        {
            "max_epochs": (*POSITIVE_FLOAT, Wrong("2.0", NO_PHASES)),
            "max_epochs_per_corpus": (
                Wrong("{notes=0.0}", shown="mix.max_epochs_per_corpus.notes = 0.0"),
                Wrong("{nots=1.0}", shown="mix.max_epochs_per_corpus.nots = 1.0"),
                Wrong("{notes=1.0}", NO_PHASES, "mix.max_epochs_per_corpus.notes = 1.0 with the weights of all phases"),
            ),
            "quality_power": (
                Wrong("{notes=nan}", shown="mix.quality_power.notes = nan"),
                Wrong("{notes=1e6}", shown="mix.quality_power.notes = 1000000.0"),
                Wrong("{web=1.0}", shown="mix.quality_power.web = 1.0"),
                Wrong("{notes=1.0}", shown="mix.quality_power.notes = 1: the score quality is 0"),
                Wrong("{notes=1.0}", NO_PHASES, "mix.quality_power.notes = 1.0 with the weights of all phases"),
            ),
            "rehydrate": (
                "3",
                Wrong('["web"]', shown="mix.rehydrate.1 = 'web'"),
                Wrong('["notes"]', NO_PHASES, "mix.rehydrate.1 = 'notes' with the weights of all phases"),
            ),
            "copies_by_cluster_size": (
                *("[]", "[[2, 2]]", "[[1, 1], [1, 2]]"),
                Wrong("[[1, 0]]", shown="mix.copies_by_cluster_size.1.2 = 0"),
                Wrong("[[1]]", shown="mix.copies_by_cluster_size.1 = [1]"),
                Wrong("[[1, 2]]", shown="mix.copies_by_cluster_size = [[1, 2]] with mix.rehydrate = []"),
            ),
            "upsample_long": ("0.5", "101.0", *FLOAT, "4.0"),
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
                Wrong("{notes=1.0}", shown="phases.1.weights_to = {'notes': 1.0} with the same weights"),
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
                Wrong("{norm_lr_factor=2.0}", ('train.optimizer="adamw"',), "phases.1.train.norm_lr_factor = 2.0 with"),
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
}
