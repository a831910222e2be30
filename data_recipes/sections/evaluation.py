"""What to ask of a checkpoint."""

from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from data_recipes.section import (
    BY_NAME,
    OWN_CLASS,
    Count,
    ExtensionSection,
    Fraction,
    Name,
    PositiveFloat,
    PositiveInt,
    Section,
    Text,
    require_whole_gpus,
)


class TaskSection(ExtensionSection):
    """A task of your own: a class with the members of `pipelines.evaluate.task.Task`. The class defines and validates
    all fields but `kind`. With `kind = "lm_eval:NAME"`, a task of lm-evaluation-harness: its fields are `num_fewshot`,
    `seed` and `include`, a folder with YAML pages of your own, relative to the recipe."""


def _named_or_own(task: Any) -> str:
    return BY_NAME if isinstance(task, str) or not isinstance(task, dict | TaskSection) else OWN_CLASS


NamedTask = Annotated[
    Annotated[Name, Tag(BY_NAME)] | Annotated[TaskSection, Tag(OWN_CLASS)], Discriminator(_named_or_own)
]
"""A task by its name, or a class of the user's own."""


class EvaluateSection(Section):
    """Scores of a checkpoint."""

    heldout_bytes_per_corpus: PositiveInt
    """Total size in bytes of the held-out documents per corpus on which bits per byte are measured."""
    heldout_bytes_per_document: PositiveInt = 4096
    """Maximum size in bytes of each held-out document. Of a longer one, evenly spaced sequences are scored: many
    documents give a narrower interval than a few whole ones."""
    stream_window: Count = 0
    """Newest tokens that each token sees when held-out documents are read whole, as one stream in constant memory. With
    the sinks they must not exceed the positions of the model. 0 disables the measure."""
    stream_sinks: Count = 4
    """First tokens of a document that each token sees as well, with `stream_window`."""
    text_to_sql_questions: Count = 0
    """Number of held-out text-to-SQL questions to answer. 0 disables the measure."""
    max_new_tokens: PositiveInt = 64
    """Maximum number of tokens of an answer to a text-to-SQL question. Tasks define their own limit."""
    every_tokens: Count = 0
    """Score saved weights during training, one checkpoint at each interval of this many training tokens, so that each
    measure has a curve within its phase. Only weights that `train.keep_weights_every_steps` keeps can be scored. 0
    scores the end of each phase alone."""
    tasks: list[NamedTask] = []
    """Additional tasks and suites to measure (suites: enterprise, academic, long_context,
    smoke), and tasks of your own:
    `{ kind = "my_tasks:Capitals" }`."""
    long_context_bytes: list[Annotated[int, Field(ge=512, le=2**24)]] = []
    """Sizes in bytes of the texts of the suite long_context, such as [1024, 4096] for a model with few positions. Empty
    asks texts of 4 to 128 KiB."""
    chat: Literal["never", "auto", "always"] = "auto"
    """Whether tasks are asked in the chat template of the tokenizer. auto: only of a checkpoint that was fine-tuned in
    it."""
    system: Text | Literal[""] = ""
    """System prompt before everything that is asked in the chat. The template of the tokenizer must have a place for
    it."""
    numpy_in_programs: bool = False
    """Let programs that a model wrote for HumanEval+ and MBPP+ import numpy, as EvalPlus does. They cannot write to it.
    Its version is part of the protocol."""
    data_root: Text = "../../eval_data"
    """Folder of the evaluation data (see `arctic eval-data`), relative to the recipe."""
    items_per_task: PositiveInt | None = None
    """Maximum number of items per task, selected by the hash of their id. If unset, all items (32 in the suite
    smoke)."""
    num_actors: PositiveInt = 1
    """Number of model replicas that answer in parallel. A single one in one process runs in the stage's own."""
    expert_parallel_size: PositiveInt = 1
    """Number of processes that share the experts of one replica, for a model that is too large for one. Each repeats
    the dense part. Scores do not depend on it."""
    cpus_per_actor: PositiveFloat = 0.5
    """CPUs that each process of a replica reserves. A replica in one process without a GPU answers as many batches of
    questions side by side, with one copy of the weights."""
    gpus_per_actor: Fraction = 0.0
    """GPUs that each process of a replica reserves."""
    tokens_per_batch: PositiveInt = 8192
    """Tokens per batch of questions: the most work that a kill can lose per replica."""
    unsafe_execution: Literal["", "i accept unsafe execution"] = ""
    """Set to "i accept unsafe execution" to run model-written code on a machine that cannot sandbox it. Otherwise such
    a machine is refused."""

    @model_validator(mode="after")
    def _replicas_have_whole_gpus(self) -> Self:
        if self.expert_parallel_size > 1:
            size = self.expert_parallel_size
            require_whole_gpus("gpus_per_actor", self.gpus_per_actor, "expert_parallel_size", size)
        return self
