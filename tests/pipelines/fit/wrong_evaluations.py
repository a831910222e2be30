"""For every field of `[evaluate]`: values that cannot work, as in `wrong_values`."""

from collections.abc import Mapping, Sequence

from data_recipes.section import Section
from data_recipes.sections.evaluation import EvaluateSection
from tests.pipelines.fit.wrong import CHOICE, COUNT, FRACTION, POSITIVE, POSITIVE_FLOAT, TEXT, Wrong

NOTHING_HELD_OUT = ("corpora.notes.source.heldout_fraction=0.0", 'evaluate.tasks=["smoke"]')
EVALUATIONS: Mapping[type[Section], tuple[str, Mapping[str, Sequence[str | Wrong]]]] = {
    EvaluateSection: (
        "evaluate.",
        {
            **dict.fromkeys(("num_actors", "tokens_per_batch"), POSITIVE),
            "max_new_tokens": (
                *POSITIVE,
                Wrong("5", shown="evaluate.max_new_tokens = 5 with evaluate.text_to_sql_ques"),
            ),
            "items_per_task": (*POSITIVE, Wrong("5", shown="evaluate.items_per_task = 5 with evaluate.tasks = []")),
            "heldout_bytes_per_document": (*POSITIVE, Wrong("500", NOTHING_HELD_OUT)),
            "heldout_bytes_per_corpus": POSITIVE,
            "stream_window": (
                *COUNT,
                Wrong("8", NOTHING_HELD_OUT),
                Wrong("5000", shown="evaluate.stream_window = 5000 with stream_sinks = 4: a phase has"),
                Wrong(
                    "8", ("evaluate.expert_parallel_size=2",), "evaluate.stream_window = 8 with expert_parallel_size"
                ),
            ),
            "stream_sinks": (*COUNT, Wrong("2", shown="evaluate.stream_sinks = 2 without stream_window")),
            "text_to_sql_questions": (*COUNT, Wrong("5", shown="evaluate.text_to_sql_questions = 5, but no corpus")),
            "every_tokens": (
                *COUNT,
                Wrong("4096", shown="evaluate.every_tokens = 4096, but train.keep_weights_every_steps = 0"),
                # Each of the two phases has four steps.
                Wrong(
                    "256",
                    ("train.checkpoint_every_steps=4", "train.keep_weights_every_steps=4"),
                    "evaluate.every_tokens = 256, but train.keep_weights_every_steps = 4",
                ),
            ),
            "tasks": (
                Wrong('["spyder"]', shown="evaluate.tasks.1 = 'spyder': no such task"),
                Wrong('["smoke", ""]', shown="evaluate.tasks.2 = ''"),
                '"smoke"',
            ),
            "long_context_bytes": (
                "4096",
                '"long"',
                *(Wrong(f"[{value}]", shown="evaluate.long_context_bytes.1") for value in ("511", "1.5", "2e9")),
                Wrong("[1024]", shown="evaluate.long_context_bytes = [1024], but no task"),
            ),
            "chat": (*CHOICE, "true", Wrong('"always"', shown="evaluate.chat = 'always' with evaluate.tasks = [] and")),
            "system": (
                "5",
                Wrong('"Be brief."', shown="evaluate.system = 'Be brief.' with evaluate.tasks = [] and"),
                Wrong(
                    '"Be brief."', ('evaluate.tasks=["spider"]',), "evaluate.system = 'Be brief.' with evaluate.chat"
                ),
                Wrong(
                    '"Be brief."',
                    ('evaluate.tasks=["arc_easy"]', 'evaluate.chat="always"'),
                    "evaluate.system = 'Be brief.': none of evaluate.tasks is asked in the chat",
                ),
            ),
            "data_root": (*TEXT, Wrong('"data"', shown="evaluate.data_root = 'data' with evaluate.tasks = []")),
            "expert_parallel_size": (
                *POSITIVE,
                Wrong("3", shown="evaluate.expert_parallel_size = 3 does not divide model.overrides.num_experts"),
                Wrong(
                    "2", ("model.overrides.num_experts=0",), "evaluate.expert_parallel_size = 2 with model.overrides"
                ),
            ),
            "cpus_per_actor": POSITIVE_FLOAT,
            "gpus_per_actor": (*FRACTION, Wrong("0.5", ("evaluate.expert_parallel_size=2",))),
            "unsafe_execution": ('"yes"', "true", '"i accept unsafe execution"'),
            "numpy_in_programs": (
                '"numpy"',
                Wrong("true", shown="evaluate.numpy_in_programs = True with evaluate.tasks = []: not used, as no"),
                Wrong(
                    "true", ('evaluate.tasks=["spider", "gsm8k"]',), "evaluate.numpy_in_programs = True with evaluate"
                ),
            ),
        },
    ),
}
