"""Ids of the stages of recipes, and the stages of the user's own among them."""

from collections.abc import Collection, Iterator, Mapping, Sequence

from data_recipes import CorpusRecipe, RunRecipe
from data_recipes.explain import did_you_mean
from data_recipes.schema import StageSection

CORPUS_STAGES = ("source", "score", "filter", "dedup")


PHASE_STAGES = ("mix", "train", "evaluate")


FINETUNE_STAGES = ("mix", "finetune", "evaluate")


RESERVED = frozenset(
    (
        *(*CORPUS_STAGES, "annotate", "tokenizer", "tokenize", *PHASE_STAGES, "weights", "finetune", "export"),
        *("report", "ablate", "compare", "evaluation_page"),
    )
)
"""Names of the stages of the chain."""


def own_stage_mistakes(sections: Sequence[StageSection], stage_ids: Sequence[str], subject: str) -> Iterator[str]:
    """Names and inputs that the user's own stages cannot have, given the other stages in `stage_ids`."""
    available = list(stage_ids)
    for number, section in enumerate(sections, start=1):
        if section.name in RESERVED or section.name in (other.name for other in sections[: number - 1]):
            owner = "a stage of the chain has" if section.name in RESERVED else "a stage above has"
            yield f"stages.{number}.name = {section.name!r}: {owner} this name. Choose another one."
        yield from unknown_inputs(number, section, available)
        available.append(f"{section.name}[{subject}]" if subject else section.name)


def unknown_inputs(number: int, section: StageSection, available: Collection[str]) -> Iterator[str]:
    """Inputs of stage `number` of the user's own that are not among the `available` ids."""
    for index, stage_id in enumerate(section.inputs, start=1):
        if stage_id not in available:
            hint = did_you_mean(stage_id, available) or f"There are {', '.join(available)}."
            yield f"stages.{number}.inputs.{index} = {stage_id!r}: no such stage. {hint}"


def stage_ids(run: RunRecipe, corpora: Mapping[str, CorpusRecipe]) -> list[str]:
    """Ids of all stages of a run but the report."""
    tuned = {section.tokens_name(corpus): corpus for section in run.finetune for corpus in section.corpora}
    ids = [stage_id for corpus in corpora.values() for stage_id in corpus_stage_ids(corpus)]
    ids += [f"tokenize[{subject}]" for subject in {**dict.fromkeys(set(corpora) - set(tuned.values())), **tuned}]
    own = [f"{section.name}[{name}]" for name, corpus in corpora.items() for section in corpus.stages]
    phases = [f"{name}[{number}]" for number, _ in enumerate(run.phases, start=1) for name in PHASE_STAGES]
    finetunes = [f"{name}[{section.name}]" for section in run.finetune for name in FINETUNE_STAGES]
    starts = {section.base: section.name for section in reversed(run.finetune) if section.is_from_folder}
    finetunes += [f"{name}[{first}.start]" for first in starts.values() for name in ("weights", "evaluate")]
    exports = [f"export[{section.name}]" for section in run.export]
    return [*ids, *own, "tokenizer", *phases, *finetunes, *exports]


def corpus_stage_ids(corpus: CorpusRecipe) -> list[str]:
    annotated = [f"annotate[{corpus.name}.{section.name}]" for section in corpus.annotate]
    return [*(f"{name}[{corpus.name}]" for name in CORPUS_STAGES), *annotated]
