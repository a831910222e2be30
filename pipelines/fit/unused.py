"""Fields that a recipe sets and that nothing reads, given its other fields: no option does nothing.

A field at its default is not set. The number of workers makes no field unused: one recipe runs on a laptop and on a
cluster.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import NamedTuple

from arctic_model.config import ArcticConfig
from arctic_model.sizing.flops import num_mlps
from data_recipes import CorpusRecipe, RunRecipe
from data_recipes.section import ExtensionSection, Section
from data_recipes.sections.curriculum import PhaseSection
from data_recipes.sections.inputs import AnnotatedInput
from data_recipes.sections.training import TrainSection
from data_recipes.steering import AmendmentSection
from pipelines.evaluate.suites import runs_programs
from pipelines.fit.configs import has_heldout
from pipelines.fit.segments import placed_segments
from pipelines.mix.from_recipe import corpora_of


class Rule(NamedTuple):
    """A field of a section that nothing reads if `applies`."""

    name: str
    applies: bool
    given: str
    """The other field that makes it so, with its value."""
    reason: str


def unused(prefix: str, section: Section, rules: Iterable[Rule]) -> Iterator[str]:
    """The mistakes of a section whose fields a recipe sets at `prefix`."""
    for rule in rules:
        if rule.applies and _is_set(section, rule.name):
            yield _sentence(prefix + rule.name, getattr(section, rule.name), rule.given, rule.reason)


def unused_in_corpus(corpus: CorpusRecipe) -> Iterator[str]:
    source, score, limits, inputs = corpus.source, corpus.score, corpus.filter, corpus.source.inputs
    has_chats = any(isinstance(item, AnnotatedInput | ExtensionSection) or item.has_chats for item in inputs)
    draws_split = any(isinstance(item, ExtensionSection) or item.draws_split for item in inputs)
    kinds = f"source.inputs of kind {', '.join(dict.fromkeys(item.kind for item in inputs))}"
    # A class of the user's own may have any.
    pages = any(isinstance(item, ExtensionSection) or item.has_pages for item in inputs)
    crawls = any(isinstance(item, ExtensionSection) or item.has_responses for item in inputs)
    yield from unused(
        "source.",
        source,
        (
            Rule("extractor", not pages, kinds, "they have no HTML pages"),
            Rule("text_format", not pages, kinds, "they have no HTML pages"),
            Rule("read_pdf", not crawls, kinds, "they have no responses of a crawl"),
            Rule("heldout_fraction", not draws_split, kinds, "they decide themselves what is held out"),
        ),
    )
    for number, item in enumerate(inputs, start=1):
        if not isinstance(item, ExtensionSection):
            unread = item.unread(source.heldout_fraction)
            rules = [Rule(name, True, given, reason) for name, given, reason in unread]
            yield from unused(f"source.inputs.{number}.", item, rules)
    given = "score.url_lists = []"
    yield from unused("filter.", limits, [Rule("drop_listed_urls", not score.url_lists, given, "no URL is listed")])
    given, reason = f"filter.allowed_licences = {limits.allowed_licences}", "every other licence is dropped already"
    yield from unused("filter.", limits, [Rule("denied_licences", bool(limits.allowed_licences), given, reason)])
    yield from unused("dedup.", corpus.dedup, [Rule("first_prompts", not has_chats, kinds, "they have no chats")])
    for number, annotation in enumerate(corpus.annotate, start=1):
        for name, answer in annotation.answer.items():
            rule = Rule(
                "description",
                annotation.response_format == "none",
                f"annotate.{number}.response_format = 'none'",
                "the model is not shown the schema of the answer",
            )
            yield from unused(f"annotate.{number}.answer.{name}.", answer, [rule])


def unused_in_run(run: RunRecipe, corpora: Mapping[str, CorpusRecipe]) -> Iterator[str]:
    """Fields outside `[model]` and `[train]`, and those of `[train]` that hold for the whole run."""
    evaluate, longest = run.evaluate, max(run.sequence_lengths, default=0)
    length = f"tokenize.sequence_length = {run.tokenize.sequence_length}"
    yield from unused(
        "mix.",
        run.mix,
        (
            Rule("max_epochs", not run.phases, "phases = []", "a fine-tune has its own number of epochs"),
            Rule("copies_by_cluster_size", not run.mix.rehydrate, "mix.rehydrate = []", "no sequence is repeated"),
            Rule("upsample_long", longest <= run.tokenize.sequence_length, length, "no phase has longer sequences"),
        ),
    )
    read = corpora_of(run)
    for field, table in (
        ("max_epochs_per_corpus", run.mix.max_epochs_per_corpus),
        ("quality_power", run.mix.quality_power),
    ):
        yield from _unread(((f"{field}.{name}", name, value) for name, value in table.items()), read)
    rehydrated = enumerate(run.mix.rehydrate, start=1)
    yield from _unread(((f"rehydrate.{number}", name, name) for number, name in rehydrated), read)
    rule = Rule("long_conversations", not run.finetune, "finetune = []", "documents are split")
    yield from unused("tokenize.", run.tokenize, [rule])
    sections: list[tuple[str, PhaseSection | AmendmentSection]] = [
        *((f"phases.{number}.", phase) for number, phase in enumerate(run.phases, start=1)),
        *((f"amendments.{number}.", amendment) for number, amendment in enumerate(run.amendments, start=1)),
    ]
    for prefix, section in sections:
        is_constant = section.weights_to == section.weights
        yield from unused(prefix, section, [Rule("weights_to", is_constant, "the same weights", "they stay constant")])
    no_tasks, no_questions = not evaluate.tasks, not evaluate.text_to_sql_questions
    named = [name for name in evaluate.tasks if isinstance(name, str)]
    in_chat = evaluate.chat == "always" or (evaluate.chat == "auto" and bool(run.finetune))
    nothing_asked = "evaluate.tasks = [] and no text_to_sql_questions"
    no_heldout, none_heldout = not has_heldout(corpora.values()), "source.heldout_fraction = 0.0 in every corpus"
    yield from unused(
        "evaluate.",
        evaluate,
        (
            Rule("max_new_tokens", no_questions, "evaluate.text_to_sql_questions = 0", "tasks have their own limit"),
            Rule("items_per_task", no_tasks, "evaluate.tasks = []", "there are no tasks"),
            Rule("data_root", no_tasks, "evaluate.tasks = []", "there are no tasks"),
            Rule("chat", no_tasks and no_questions, nothing_asked, "nothing is asked"),
            Rule("system", no_tasks and no_questions, nothing_asked, "nothing is asked"),
            Rule("system", not in_chat, f"evaluate.chat = {evaluate.chat!r}", "nothing is asked in the chat"),
            Rule("unsafe_execution", no_tasks and no_questions, nothing_asked, "nothing is executed"),
            Rule("numpy_in_programs", not runs_programs(named), f"evaluate.tasks = {named}", "no program is asked for"),
            Rule("heldout_bytes_per_document", no_heldout, none_heldout, "no document is read"),
            Rule("stream_window", no_heldout, none_heldout, "no document is read"),
        ),
    )
    yield from unused("train.", run.train, _of_the_whole_run(run))


def unused_overrides(run: RunRecipe, config: ArcticConfig) -> Iterator[str]:
    """Fields of `model.overrides` about parts that the model does not have."""
    no_experts = ("num_experts = 0", "there are no experts")
    rules = (
        *((name, not config.num_experts, *no_experts) for name in ("top_k", "expert_size")),
        ("dense_size", not num_mlps(config), f"layer_shape = {config.layer_shape!r}", "there is no dense MLP"),
    )
    for name, applies, given, reason in rules:
        if applies and name in run.model.overrides:
            yield _sentence(f"model.overrides.{name}", run.model.overrides[name], f"model.overrides.{given}", reason)


def unused_in_training(run: RunRecipe, config: ArcticConfig) -> Iterator[str]:
    """Fields of training that no phase reads, nor a fine-tune that trains all weights."""
    sentences: dict[str, str] = {}
    read: set[str] = set()
    for _, train, prefixes in placed_segments(run):
        for rule in _of_steps(train, prefixes, config):
            field = prefixes[rule.name] + rule.name
            if not rule.applies:
                read.add(field)
            elif _is_set(train, rule.name):
                sentences[field] = _sentence(field, getattr(train, rule.name), rule.given, rule.reason)
    if any(not section.lora for section in run.finetune):
        of_train = dict.fromkeys(TrainSection.model_fields, "train.")
        rules = _of_steps(run.train, of_train, config)
        read |= {f"train.{rule.name}" for rule in rules if rule.name not in OWN_IN_FINETUNES and not rule.applies}
    yield from (sentence for field, sentence in sentences.items() if field not in read)


OWN_IN_FINETUNES = ("final_lr_fraction", "decay_fraction")


def _of_the_whole_run(run: RunRecipe) -> Iterator[Rule]:
    own = "schedule", "warmup_tokens", *OWN_IN_FINETUNES, "weight_decay", "profile_steps"
    yield from (Rule(name, not run.phases, "phases = []", "fine-tunes have their own settings") for name in own)
    only_adapters = not run.phases and all(section.lora for section in run.finetune)
    yield Rule("fp8", only_adapters, "lora in every fine-tune", "adapters and what they stand beside have one dtype")
    is_last = len(run.phases) < 2 and not run.finetune
    yield Rule("keep_optimizer_states", is_last, f"phases = {len(run.phases)}", "nothing is trained after the first")
    num_steps = run.segments[-1][-1].last_step if run.phases else 0
    for name in ("keep_every_steps", "keep_weights_every_steps"):
        is_late = not run.finetune and getattr(run.train, name) > num_steps
        yield Rule(name, is_late, f"the {num_steps} steps of the run", "no such checkpoint is written")


def _of_steps(train: TrainSection, prefixes: Mapping[str, str], config: ArcticConfig) -> Iterator[Rule]:
    """Rules about steps that share all settings; `prefixes`: where a recipe sets each of them."""

    def given(name: str) -> str:
        return f"{prefixes[name]}{name} = {getattr(train, name)!r}"

    yield Rule("decay_fraction", train.schedule == "cosine", given("schedule"), "it falls from the end of warm-up on")
    is_constant = train.schedule == "wsd" and train.decay_fraction == 0
    yield Rule("final_lr_fraction", is_constant, given("decay_fraction"), "the learning rate does not decay")
    yield Rule("nccl_max_ctas", train.gpus_per_worker == 0, given("gpus_per_worker"), "NCCL needs GPUs")
    factors = {"embeddings": "embedding_lr_factor", "head": "head_lr_factor", "router": "gate_lr_factor"}
    for part, name in {**factors, "norms": "norm_lr_factor"}.items():
        if train.optimizer == "adamw":
            yield Rule(name, True, given("optimizer"), "AdamW has one rate for all")
        elif part == "head" and config.tied_head:
            yield Rule(name, True, "model.overrides.tied_head = True", "the head has no weights of its own")
        elif part == "router" and not config.num_experts:
            yield Rule(name, True, "model.overrides.num_experts = 0", "there are no experts")
        else:
            yield Rule(name, part in train.freeze, given("freeze"), "these weights are not trained")
    for name in ("capacity_factor", "balance_loss_coefficient", "z_loss_coefficient"):
        yield Rule(name, not config.num_experts, "model.overrides.num_experts = 0", "there are no experts")
    if config.num_experts:
        yield Rule("balance_bias_rate", "router" in train.freeze, given("freeze"), "its biases stay as they are")
    else:
        yield Rule("balance_bias_rate", True, "model.overrides.num_experts = 0", "there are no experts")


def _unread(named: Iterable[tuple[str, str, object]], read: Collection[str]) -> Iterator[str]:
    """Corpora that fields of `[mix]` name, each as field, name and value, and that no phase reads."""
    for field, name, value in named:
        if name not in read:
            yield _sentence(f"mix.{field}", value, "the weights of all phases", "no phase reads this corpus")


def _is_set(section: Section, name: str) -> bool:
    return bool(getattr(section, name) != type(section).model_fields[name].default)


def _sentence(field: str, value: object, given: str, reason: str) -> str:
    return f"{field} = {value!r} with {given}: not used, as {reason}. Remove it."
