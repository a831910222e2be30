"""The same as `wrong_values`, for the sections in lists: inputs of a source, and evaluation files."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from data_recipes.schema import ExportSection, StageSection
from data_recipes.section import ExtensionSection, Section
from data_recipes.sections import inputs
from data_recipes.sections.annotation import AnnotateSection, LabelLimitSection
from data_recipes.sections.evaluation import TaskSection
from data_recipes.sections.finetuning import FinetuneSection
from data_recipes.sections.refining import BenchmarkSection
from data_recipes.steering import AmendmentSection
from tests.pipelines.fit.wrong import (
    FRACTION,
    HUGE,
    NAME,
    NON_NEGATIVE_FLOAT,
    POSITIVE,
    POSITIVE_FLOAT,
    SEED,
    SWITCH,
    TEXT,
)


class Item(NamedTuple):
    """A section in the list `field` that works, its fields in TOML; and by field, the values that cannot."""

    field: str
    sound: Mapping[str, str]
    wrong: Mapping[str, Sequence[str]]
    page: str = "notes.toml"


KIND = ('"other"', "3")
FIELD = ('""', "3")
PATHS = ("[]", '[""]', "[3]", '["gone.gz"]', '["nowhere://host/file"]')

ITEMS: Mapping[type[Section], Item] = {
    AmendmentSection: Item(
        "amendments",
        {"from_step": "2", "train": "{peak_lr=0.002}"},
        {
            # The run has eight steps.
            "from_step": (*POSITIVE, "8", "9"),
            "train": (
                *("3", "{}", "{peak_lr=0.0}", "{peak_rate=0.1}", "{peak_lr=0.001}", "{seed=1}", "{zero_stage=2}"),
                *("{checkpoint_every_steps=5}", "{num_workers=2}", '{optimizer="adamw"}', "{balance_bias_rate=0.1}"),
                *('{gradient_dtype="bfloat16"}', "{global_batch_sequences=6}", "{spike_window_steps=5}"),
            ),
            "weights": ("3", "{notes=0.5}", "{notes=-1.0}", "{gone=1.0}", '{notes="all"}'),
            "weights_to": ("3", "{notes=1.0}", "{notes=0.5}"),
        },
        "tiny.toml",
    ),
    BenchmarkSection: Item(
        "score.decontaminate",
        {"name": '"gsm8k"', "path": '"notes.jsonl"', "fields": '["text"]'},
        {"name": ('""', '"A B"'), "path": (*TEXT, '"gone.jsonl"', '"words.txt"'), "fields": ("[]", '[""]')},
    ),
    inputs.WarcInput: Item("source.inputs", {"kind": '"warc"', "paths": '["*.gz"]'}, {"kind": KIND, "paths": PATHS}),
    inputs.CommonCrawlInput: Item(
        "source.inputs",
        {"kind": '"common_crawl"', "crawl": '"CC-MAIN-2024-51"', "num_files": "1"},
        {
            "kind": KIND,
            "crawl": ('"CC-2024"', '""', "2024"),
            "base_url": ('"data.commoncrawl.org"', '""'),
            "subset": ('"wat"', "3"),
            "fraction": ("0.0", "1.5", "nan", "0.5"),
            "num_files": POSITIVE,
            "seed": SEED,
            "domains": ('["https://python.org"]', '[""]', '"python.org"'),
            "languages": ('["en"]', '[""]'),
        },
    ),
    inputs.TableInput: Item(
        "source.inputs",
        {"kind": '"parquet"', "paths": '["notes.parquet"]'},
        {
            "kind": KIND,
            "paths": PATHS,
            "text_field": (*FIELD, '"body"'),
            **dict.fromkeys(("url_field", "date_field", "licence_field", "id_field"), (*FIELD, '"gone"')),
        },
    ),
    inputs.ChatInput: Item(
        "source.inputs",
        {"kind": '"chat"', "paths": '["notes.jsonl"]'},
        {"kind": KIND, "paths": PATHS, "shape": ('"xml"', "3"), "licence": ("3",)},
    ),
    inputs.TextToSqlChatInput: Item(
        "source.inputs",
        {"kind": '"text_to_sql_chat"', "num_schemas": "4", "pairs_per_schema": "2", "seed": "1"},
        {"kind": KIND, "num_schemas": (*POSITIVE, "90000000"), "pairs_per_schema": POSITIVE, "seed": SEED},
    ),
    inputs.LedgersInput: Item(
        "source.inputs",
        {"kind": '"ledgers"', "num_documents": "4", "seed": "1"},
        {
            "kind": KIND,
            "num_documents": POSITIVE,
            "min_bytes": (*POSITIVE, "13_000"),
            "max_bytes": (*POSITIVE, "599"),
            "seed": SEED,
        },
    ),
    inputs.DocstringChatInput: Item(
        "source.inputs",
        {"kind": '"docstring_chat"', "seed": "1"},
        {"kind": KIND, "seed": SEED},
    ),
    inputs.CodeChatInput: Item(
        "source.inputs",
        {"kind": '"code_chat"', "num_tasks": "4", "seed": "1"},
        {"kind": KIND, "num_tasks": POSITIVE, "seed": SEED},
    ),
    inputs.AnnotatedInput: Item(
        "source.inputs",
        {"kind": '"annotated"', "corpus": '"old"', "annotation": '"questions"'},
        # The corpus "old" has no annotation at all.
        {"kind": KIND, "corpus": ('"gone"', '"../up"', "3"), "annotation": ('"questions"', "3")},
    ),
    AnnotateSection: Item(
        "annotate",
        {
            "name": '"topics"',
            "server": '"http://127.0.0.1:1/v1"',
            "model": '"m"',
            "prompt": '"{text}"',
            "answer": '{score={type="integer"}}',
        },
        {
            "name": NAME,
            "server": ('"127.0.0.1:8000"', '"http://user:secret@host/v1"', '"http://host/v1?key=secret"', '""', "3"),
            "model": TEXT,
            "prompt": ('"no document"', '"{text} {title}"', '"{{text}}"', *TEXT),
            "system": ("3",),
            "answer": ("{}", "3", '{Score={type="integer"}}'),
            "documents": ('"score"', '"gone"', "3"),
            "fraction": ("0.0", "1.5", "nan"),
            "max_characters": POSITIVE,
            "max_answer_tokens": POSITIVE,
            "temperature": NON_NEGATIVE_FLOAT,
            "seed": SEED,
            "response_format": ('"json"', "3"),
            "attempts": (*POSITIVE, "11"),
            "max_unusable_fraction": FRACTION,
            "num_concurrent_requests": POSITIVE,
            "timeout_s": POSITIVE_FLOAT,
            "max_requests": POSITIVE,
            "max_tokens": POSITIVE,
            "max_cost": (*POSITIVE_FLOAT, "5.0"),
            "price_per_million_prompt_tokens": NON_NEGATIVE_FLOAT,
            "price_per_million_answer_tokens": NON_NEGATIVE_FLOAT,
        },
    ),
    LabelLimitSection: Item(
        "filter.labels",
        {"annotation": '"topics"', "field": '"score"', "minimum": "3"},
        {
            # The corpus has no annotation.
            "annotation": ('"topics"', "3"),
            "field": ('"Score"', "3"),
            "minimum": ('"low"', "nan"),
            "maximum": ("2", '"high"', "inf"),
            "allowed": ("[3]", '"one"'),
            "keep_unlabelled": SWITCH,
        },
    ),
    FinetuneSection: Item(
        "finetune",
        {"name": '"tuned"', "from": '"one"', "epochs": "{ notes = 1.0 }", "peak_lr": "0.001"},
        {
            "name": (*NAME, '"7"', '"two"'),
            "from": ('"gone"', '"tuned"', '""', "3"),
            "weights": ("{ notes = 2.0 }", "{ notes = 1.0 }", "3"),
            "tokens": (*POSITIVE, "1024"),
            "epochs": ("{}", "{ notes = 0.0 }", "{ gone = 1.0 }", "{ notes = 1.0 }", "3"),
            "peak_lr": POSITIVE_FLOAT,
            "schedule": ('"linear"', "3"),
            "warmup_fraction": FRACTION,
            "final_lr_fraction": FRACTION,
            "weight_decay": NON_NEGATIVE_FLOAT,
            "global_batch_sequences": (*POSITIVE, "3"),
            "objective": ('"ppo"', "3"),
            "dpo": ("3", "{ beta = 0.1 }"),
            "lora": ("3", '{ targets = ["gate"] }', '{ targets = ["experts"], dropout = 0.1 }'),
        },
        "tiny.toml",
    ),
    ExtensionSection: Item("filter.rules", {"kind": '"rules:Rule"'}, {"kind": ('"rule"', '"gone:Rule"', "3")}),
    TaskSection: Item(
        "evaluate.tasks",
        {"kind": '"tasks:Task"'},
        {"kind": ('"task"', '"gone:Task"', '"lm_eval:no_such_task"', "3")},
        "tiny.toml",
    ),
    StageSection: Item(
        "stages",
        {"kind": '"own:Counts"', "name": '"counts"', "inputs": '["dedup[notes]"]'},
        {
            "kind": ('"counts"', '"gone:Counts"', "3"),
            "name": ('""', '"Counts"', '"dedup"', "3"),
            "inputs": ("[]", '["dedup[gone]"]', '["counts[notes]"]', '"dedup[notes]"', "3"),
        },
    ),
    ExportSection: Item(
        "export",
        {"name": '"hf"', "to": '"huggingface"'},
        {
            "name": ('""', '"HF"', "3"),
            "to": ('"onnx"', '""', "3"),
            "dtype": ('"int4"', '"q8_0"', "3"),
            "checkpoint": ('"train[3]"', '"evaluate[1]"', "3"),
        },
        "tiny.toml",
    ),
    inputs.TextFilesInput: Item(
        "source.inputs", {"kind": '"text_files"', "paths": '["words.txt"]'}, {"kind": KIND, "paths": PATHS}
    ),
    inputs.PydocInput: Item("source.inputs", {"kind": '"pydoc"'}, {"kind": KIND}),
    inputs.DistributionsInput: Item("source.inputs", {"kind": '"distributions"'}, {"kind": KIND}),
    inputs.PythonSourcesInput: Item(
        "source.inputs",
        {"kind": '"python_sources"'},
        {
            "kind": KIND,
            # There are no distributions for it.
            "standard_library": ("false", *SWITCH),
            "distributions": ('["no-such-distribution"]', '[""]'),
            "max_file_bytes": POSITIVE,
        },
    ),
    inputs.RepositoriesInput: Item(
        "source.inputs",
        {"kind": '"repositories"', "paths": '["."]'},
        {
            "kind": KIND,
            "paths": ("[]", '[""]', '["gone"]'),
            "languages": ('["Pyton"]', '[""]'),
            "max_file_bytes": POSITIVE,
            "join_files": SWITCH,
            "heldout_by": ('"files"', "3"),
        },
    ),
    inputs.TextToSqlInput: Item(
        "source.inputs",
        {"kind": '"text_to_sql"', "num_schemas": "4", "num_heldout_schemas": "2", "pairs_per_schema": "2", "seed": "1"},
        {
            "kind": KIND,
            **dict.fromkeys(("num_schemas", "num_heldout_schemas"), (*POSITIVE, "90000000")),
            "pairs_per_schema": POSITIVE,
            "seed": (*SEED, HUGE),
        },
    ),
}
