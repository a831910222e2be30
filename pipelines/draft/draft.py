"""From a user's files to recipes that plan and run as they are."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from data_recipes import RunRecipe
from pipelines.draft.corpus import DraftedCorpus, draft_corpus, unique_name
from pipelines.draft.pages import plain, toml_text
from pipelines.draft.run import run_page
from pipelines.draft.sample import Sample, sample
from pipelines.draft.survey import Group, survey
from pipelines.errors import OptionError
from pipelines.recipes import Recipe

MIN_DOCUMENTS, MIN_TEXT_BYTES = 20, 100_000
"""A group with less of both is not a separate corpus if there are larger ones: a licence, a list of links."""


@dataclass(frozen=True)
class Draft:
    """Recipes that lie in `folder` once they are written.

    Attributes:
        folder: Folder of the recipes: their paths start here.
        run: The run recipe.
        corpora: The corpus recipes, with the files and estimates behind each.
        texts: Text of each page by file name.
        unread: Number of files that no input reads, by the ending of their names.
        left_out: Reason by name of each group of files that no recipe reads.
    """

    folder: Path
    run: RunRecipe
    corpora: Sequence[DraftedCorpus]
    texts: Mapping[str, str]
    unread: Mapping[str, int]
    left_out: Mapping[str, str]

    @property
    def run_file(self) -> Path:
        """The run recipe."""
        return self.folder / f"{self.run.name}.toml"

    def write(self) -> None:
        """Write the recipes. Raises OptionError if one exists: it may be the user's own by now."""
        for file in self.texts:
            if (self.folder / file).exists():
                raise OptionError(f"{self.folder / file}: exists. Remove it, or name another folder with --out.")
        self.folder.mkdir(parents=True, exist_ok=True)
        for file, text in self.texts.items():
            (self.folder / file).write_text(text, encoding="utf-8")


def draft(
    paths: Sequence[Path], folder: Path, name: str | None = None, *, num_cpus: int | None = None, num_gpus: int = 0
) -> Draft:
    """Draft recipes for the files at `paths`.

    Args:
        paths: Files and folders.
        folder: Folder for the recipes.
        name: Name of the run. Default: that of the first path.
        num_cpus: CPUs to train on. Default: those of this machine.
        num_gpus: GPUs to train on.

    Raises:
        UserError: A path is missing, or holds too little text.
    """
    surveyed = survey(paths)
    samples = {group: sample(group) for group in surveyed.groups}
    left_out = {group: reason for group in samples if (reason := _reason_to_leave_out(group, samples))}
    selected = [group for group in samples if group not in left_out]
    if not selected:
        reasons = "; ".join(f"{group.name}: {reason}" for group, reason in left_out.items())
        raise OptionError(f"{', '.join(map(str, paths))}: no text. {reasons}")
    drafted: list[DraftedCorpus] = []
    for group in selected:
        drafted.append(draft_corpus(group, samples[group], folder, [corpus.name for corpus in drafted]))
    run_name = _run_name(name or paths[0].absolute().name.partition(".")[0], [corpus.name for corpus in drafted])
    page = run_page(run_name, drafted, num_cpus or os.cpu_count() or 1, num_gpus)
    pages = {corpus.name: corpus.page for corpus in drafted}
    recipe = Recipe.of(plain(page), *map(plain, pages.values()), folder=folder)
    recipe.require_fit()
    texts = {f"{run_name}.toml": toml_text(page, _heading(run_name))}
    texts |= {f"{name}.toml": toml_text(page, f"A corpus of the run {run_name}.") for name, page in pages.items()}
    reasons_by_name = {group.name: reason for group, reason in left_out.items()}
    return Draft(folder, recipe.require_run(), drafted, texts, dict(surveyed.unread), reasons_by_name)


def _reason_to_leave_out(group: Group, samples: Mapping[Group, Sample]) -> str:
    """Why a group makes no corpus; empty if it does."""
    sampled = samples[group]
    if not sampled.documents:
        return sampled.unreadable[0] if sampled.unreadable else "no document holds text"
    others_hold_more = any(other.num_documents >= MIN_DOCUMENTS for other in samples.values())
    if sampled.num_documents < MIN_DOCUMENTS and sampled.text_bytes < MIN_TEXT_BYTES and others_hold_more:
        return f"only {sampled.num_documents} documents with {sampled.text_bytes} bytes of text"
    return ""


def _run_name(name: str, corpora: Sequence[str]) -> str:
    plain_name = unique_name(name, [])
    return unique_name(f"{plain_name}_model" if plain_name in corpora else plain_name, corpora)


def _heading(name: str) -> str:
    return (
        f"Drafted by `arctic init`. Continue with\n    arctic plan {name}.toml\n    arctic run {name}.toml\n"
        "Every field: docs/reference/recipes.md"
    )
