"""The exports of a run: of a phase, or of a fine-tune together with the phase that it starts from."""

from collections.abc import Mapping

from data_recipes import RunRecipe
from data_recipes.schema import ExportSection
from data_recipes.sections.finetuning import FinetuneSection
from infra.stage import Stage
from pipelines import evaluate, export, tokenize


def export_stages(
    run: RunRecipe, documents: Mapping[str, tokenize.TrainingDocuments[Stage]], built: Mapping[str, Stage]
) -> list[Stage]:
    """The stage of every export.

    Args:
        run: The recipe.
        documents: Kept documents of all corpora, by name.
        built: The stages in front, by id.
    """
    return [export.stage(run.name, section, _inputs(run, section, documents, built)) for section in run.export]


def _inputs(
    run: RunRecipe,
    section: ExportSection,
    documents: Mapping[str, tokenize.TrainingDocuments[Stage]],
    built: Mapping[str, Stage],
) -> export.ExportInputs[Stage]:
    train = built[section.checkpoint or f"train[{len(run.phases)}]"]
    phase, tunes = _history(run, train.subject)
    orders = [*(str(number) for number in range(1, phase + 1)), *(tune.name for tune in tunes)]
    tokens = {name: f"tokenize[{name}]" for name in documents if not _is_for_tuning(run, name)}
    tokens |= {name: f"tokenize[{tune.tokens_name(name)}]" for tune in tunes for name in tune.corpora}
    return export.ExportInputs(
        train,
        built["tokenizer"],
        built[f"evaluate[{train.subject}]"],
        {str(number): built[f"mix[{subject}]"] for number, subject in enumerate(orders, start=1)},
        {
            name: export.CorpusHistory(each.source, each.filter, each.dedup, built[tokens[name]])
            for name, each in documents.items()
            if name in tokens
        },
        _scores_of_start(phase, tunes, built) if tunes else None,
    )


def _is_for_tuning(run: RunRecipe, corpus: str) -> bool:
    """Whether fine-tunes alone read a corpus."""
    return any(corpus in tune.corpora for tune in run.finetune) and all(
        corpus not in each.corpora for each in run.phases
    )


def _scores_of_start(phase: int, tunes: list[FinetuneSection], built: Mapping[str, Stage]) -> Stage | None:
    """Of the phase that fine-tunes go back to, or of the weights that the first starts from."""
    if phase:
        return built[f"evaluate[{phase}]"]
    return evaluate.PhaseInputs.of(built[f"evaluate[{tunes[0].name}]"].inputs).previous


def _history(run: RunRecipe, subject: str) -> tuple[int, list[FinetuneSection]]:
    """The phase that the checkpoint `subject` goes back to, 0 for weights from a folder, and the fine-tunes from there
    to it, in order."""
    if subject.isdigit():
        return int(subject), []
    sections = {tune.name: tune for tune in run.finetune}
    tunes: list[FinetuneSection] = []
    while subject in sections:
        tunes.insert(0, sections[subject])
        subject = sections[subject].base
    names = [phase.name for phase in run.phases]
    return (names.index(subject) + 1 if subject in names else 0), tunes
