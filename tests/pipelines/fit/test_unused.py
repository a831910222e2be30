"""A field is refused if nothing reads it, and only then."""

import tomllib
from pathlib import Path

import pytest

from data_recipes.overrides import override
from data_recipes.schema import CorpusRecipe, RunRecipe
from pipelines.fit.configs import model_config
from pipelines.fit.corpus import corpus_mistakes
from pipelines.fit.unused import unused_in_run, unused_in_training
from tests.pipelines.fit.test_fit import CORPUS_PAGE, RUN_PAGE
from tests.pipelines.fit.wrong_corpus_values import ANNOTATION

TUNED = 'finetune=[{name="tuned", from="one", epochs={notes=1.0}, peak_lr=0.001}]'
LABEL = 'filter.labels=[{annotation="topics", field="topic", allowed=["rivers"], minimum=3}]'
CRAWL = '{kind="common_crawl", crawl="CC-MAIN-2024-51"'
CHAT = 'source.inputs=[{kind="docstring_chat", seed=1}]'
PAGES = 'source.inputs=[{kind="warc", paths=["*.gz"]}]'


def corpus_lines(*fields: str) -> list[str]:
    page = override(tomllib.loads(CORPUS_PAGE.format(name="notes")), fields, Path("page.toml"))
    return list(corpus_mistakes(CorpusRecipe.model_validate(page)))


def run_lines(*fields: str) -> list[str]:
    corpus = CorpusRecipe.model_validate(tomllib.loads(CORPUS_PAGE.format(name="notes")))
    run = RunRecipe.model_validate(override(tomllib.loads(RUN_PAGE), fields, Path("page.toml")))
    return [*unused_in_run(run, {"notes": corpus}), *unused_in_training(run, model_config(run))]


@pytest.mark.parametrize(
    ("fields", "start"),
    [
        (
            [f"source.inputs=[{CRAWL}, fraction=1.0, seed=7}}]"],
            "source.inputs.1.seed = 7 with fraction = 1.0: not used",
        ),
        (
            ['source.inputs=[{kind="repositories", paths=["."], heldout_by="file"}]', "source.heldout_fraction=0.0"],
            "source.inputs.1.heldout_by = 'file' with source.heldout_fraction = 0.0: not used",
        ),
        ([f"annotate=[{ANNOTATION}]", LABEL], 'filter.labels.1.minimum = 3.0: topic is of type "string"'),
        (
            [
                f"annotate=[{ANNOTATION}]",
                'annotate.1.response_format="none"',
                'annotate.1.answer.topic.description="of the page"',
            ],
            "annotate.1.answer.topic.description = 'of the page' with annotate.1.response_format = 'none': not used",
        ),
    ],
)
def test_a_field_of_a_corpus_that_nothing_reads_is_a_mistake(fields: list[str], start: str) -> None:
    (line,) = corpus_lines(*fields)
    assert line.startswith(start)


@pytest.mark.parametrize(
    "fields",
    [
        [PAGES, 'source.extractor="all_text"', 'source.text_format="markdown"', "source.read_pdf=true"],
        [f"source.inputs=[{CRAWL}, num_files=1, seed=7}}]", "source.read_pdf=true"],
        ['source.inputs=[{kind="my_inputs:Pdf"}]', "source.read_pdf=true", 'source.extractor="all_text"'],
        [CHAT, "dedup.first_prompts=true", "source.heldout_fraction=0.2"],
        ['filter.denied_licences=["GPL-3.0"]'],
        ['score.url_lists=["words.txt"]', "filter.drop_listed_urls=false"],
    ],
)
def test_a_field_of_a_corpus_that_something_reads_is_not(fields: list[str]) -> None:
    assert corpus_lines(*fields) == []


def test_an_amendment_to_the_same_weights_is_a_mistake() -> None:
    (line,) = run_lines("amendments=[{from_step=2, weights={notes=1.0}, weights_to={notes=1.0}}]")
    assert line.startswith("amendments.1.weights_to = {'notes': 1.0} with the same weights: not used")


@pytest.mark.parametrize(
    "fields",
    [
        # One phase reads it, and the other does not.
        ["train.decay_fraction=0.5", 'phases.1.train.schedule="cosine"'],
        ["train.decay_fraction=0.5", 'train.schedule="cosine"', 'phases.2.train.schedule="wsd"'],
        ["train.balance_bias_rate=0.001", 'phases.2.train.freeze=["router"]'],
        ["train.gate_lr_factor=0.5", 'phases.1.train.freeze=["router"]'],
        # The fine-tune alone reads it.
        [TUNED, "train.norm_lr_factor=0.5", 'phases.1.train.freeze=["norms"]', 'phases.2.train.freeze=["norms"]'],
        [TUNED, 'tokenize.long_conversations="truncate"', 'train.keep_optimizer_states="last"'],
        ["mix.upsample_long=4.0", "phases.2.sequence_length=128"],
        ['mix.rehydrate=["notes"]', "mix.copies_by_cluster_size=[[1, 2]]"],
        ["train.nccl_max_ctas=8", "train.gpus_per_worker=1.0"],
        ["train.checkpoint_every_steps=4", "train.keep_every_steps=4"],
        [
            'evaluate.tasks=["smoke"]',
            "evaluate.items_per_task=5",
            'evaluate.chat="always"',
            'evaluate.data_root="data"',
        ],
    ],
)
def test_a_field_of_a_run_that_something_reads_is_not(fields: list[str]) -> None:
    assert run_lines(*fields) == []


def test_a_field_is_refused_where_it_is_set() -> None:
    (line,) = run_lines('phases.2.train={schedule="cosine", decay_fraction=0.5}')
    assert line.startswith("phases.2.train.decay_fraction = 0.5 with phases.2.train.schedule = 'cosine': not used")
    (line,) = run_lines(TUNED, "train.balance_bias_rate=0.001", 'train.freeze=["router"]')
    assert line.startswith("train.balance_bias_rate = 0.001 with train.freeze = ['router']: not used")


def test_fp8_is_for_weights_that_are_trained_whole() -> None:
    fields = ["phases=[]", "train.fp8=true", 'train.dtype="bfloat16"']
    tuned = 'finetune=[{{name="tuned", from="./base", epochs={{notes=1.0}}, peak_lr=0.001{}}}]'
    (line,) = run_lines(*fields, tuned.format(", lora={}"))
    assert line.startswith("train.fp8 = True with lora in every fine-tune: not used")
    assert run_lines(*fields, tuned.format("")) == []
