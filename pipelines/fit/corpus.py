"""Mistakes of a corpus recipe."""

from collections.abc import Iterator, Mapping

from data_recipes import CorpusRecipe
from data_recipes.sections.annotation import label_mistake
from data_recipes.sections.inputs import AnnotatedInput
from data_recipes.sections.refining import FilterSection
from pipelines.artifacts.languages.words import STOP_WORDS
from pipelines.fit.scores import LIMITS, unmeasured
from pipelines.fit.stages import corpus_stage_ids, own_stage_mistakes
from pipelines.fit.unused import unused_in_corpus


def unmade(corpus: CorpusRecipe, corpora: Mapping[str, CorpusRecipe]) -> Iterator[str]:
    """Documents that no annotation makes."""
    for number, item in enumerate(corpus.source.inputs, start=1):
        if not isinstance(item, AnnotatedInput):
            continue
        sections = {section.name: section for section in corpora[item.corpus].annotate}
        field = f"source.inputs.{number}.annotation = {item.annotation!r}"
        if item.annotation not in sections:
            yield f"{field}: the corpus {item.corpus} has none of this name. Name one of {sorted(sections)}."
        elif not sections[item.annotation].documents:
            yield f"{field}: it makes labels, no documents. Set its field `documents`."


def corpus_mistakes(corpus: CorpusRecipe) -> Iterator[str]:
    limits = corpus.filter
    yield from unused_in_corpus(corpus)
    yield from own_stage_mistakes(corpus.stages, corpus_stage_ids(corpus), corpus.name)
    mistakes = (label_mistake(label, corpus.annotate) for label in limits.labels)
    yield from (f"filter.labels.{number}.{mistake}" for number, mistake in enumerate(mistakes, start=1) if mistake)
    for number, language in enumerate(limits.languages, start=1):
        if language not in _languages():
            yield (
                f"filter.languages.{number} = {language!r}: no language that is detected. "
                f"Choose one of {', '.join(_languages())}."
            )
    for number, region in enumerate(corpus.score.phone_regions, start=1):
        if region not in _phone_regions():
            yield (
                f"score.phone_regions.{number} = {region!r}: no region with a numbering plan. "
                "Use an ISO 3166 code in capitals, such as DE."
            )
    if limits.min_stop_words > (most := max(map(len, STOP_WORDS.values()))):
        yield (
            f"filter.min_stop_words = {limits.min_stop_words}: no language has more than {most} on its list, so every "
            "document would be dropped. Lower it."
        )
    for score, limit in LIMITS.items():
        value = getattr(limits, limit)
        if value != FilterSection.model_fields[limit].default:
            yield from (f"filter.{limit} = {value}: {mistake}" for mistake in unmeasured(score, "", corpus))


def _languages() -> list[str]:
    # Imported here, as are phone regions: few recipes name one, and every plan would wait for the library.
    from resiliparse.parse.lang import supported_langs

    return [*supported_langs(), "unknown"]


def _phone_regions() -> frozenset[str]:
    import phonenumbers

    return frozenset(phonenumbers.SUPPORTED_REGIONS)
