"""As `wrong_values`, for the fields of corpus recipes."""

from collections.abc import Mapping, Sequence

from data_recipes import schema
from data_recipes.section import Section
from data_recipes.sections.annotation import AnswerFieldSection
from data_recipes.sections.refining import FilterSection, ScoreSection
from tests.pipelines.fit.wrong import (
    CHOICE,
    COUNT,
    FRACTION,
    FREE_TEXT,
    NAME,
    NON_NEGATIVE_FLOAT,
    POSITIVE,
    POSITIVE_FLOAT,
    SEED,
    SWITCH,
    Wrong,
)

ANNOTATION = (
    '{name="topics", server="http://127.0.0.1:1/v1", model="m", prompt="{text}", '
    'answer={score={type="integer", minimum=0, maximum=5}, topic={type="string"}}}'
)
WET = '{kind="common_crawl", crawl="CC-MAIN-2024-51", num_files=1, subset="wet"}'
SQL = '{kind="text_to_sql", num_schemas=4, num_heldout_schemas=2, pairs_per_schema=2, seed=1}'
CORPUS: Mapping[type[Section], tuple[str, Mapping[str, Sequence[str | Wrong]]]] = {
    schema.CorpusRecipe: (
        "",
        {
            "name": NAME,
            "description": FREE_TEXT,
            **dict.fromkeys(("source", "score", "filter", "dedup"), ("3", "[]")),
            "annotate": (
                *("3", Wrong("[3]", shown="annotate.1")),
                Wrong(f"[{ANNOTATION}, {ANNOTATION}]", shown="annotate.2.name = 'topics'"),
            ),
            "stages": ("3", Wrong("[3]", shown="stages.1")),
        },
    ),
    AnswerFieldSection: (
        "annotate.1.answer.score.",
        {
            name: [Wrong(value, (f"annotate=[{ANNOTATION}]",), shown) for value, shown in values.items()]
            for name, values in {
                "type": {'"float"': "", "3": ""},
                "choices": {'["good"]': "annotate.1.answer.score.choices = ['good']", "3": ""},
                "minimum": {'"low"': "", "6": "annotate.1.answer.score.minimum = 6.0 is more than", "nan": ""},
                "maximum": {'"high"': "", "-1": "annotate.1.answer.score.minimum = 0.0 is more than", "inf": ""},
                "description": {"3": ""},
            }.items()
        },
    ),
    schema.SourceSection: (
        "source.",
        {
            "inputs": ("[]", Wrong("[{}]", shown="source.inputs.1.kind: missing"), "3"),
            # The corpus has rows of JSON Lines.
            "extractor": (*CHOICE, '"all_text"'),
            "text_format": (*CHOICE, '"markdown"'),
            "read_pdf": (
                *SWITCH,
                "true",
                Wrong("true", ('source.inputs=[{kind="text_files", paths=["words.txt"]}]',)),
                Wrong("true", (f"source.inputs=[{WET}]",)),
            ),
            "heldout_fraction": ("1.0", *FRACTION, Wrong("0.2", (f"source.inputs=[{SQL}]",))),
            "max_quarantined_fraction": FRACTION,
        },
    ),
    ScoreSection: (
        "score.",
        {
            "url_lists": (
                Wrong('["gone.txt"]', shown="score.url_lists.1 = 'gone.txt'"),
                Wrong('["empty.txt"]', shown="score.url_lists.1 = 'empty.txt'"),
                Wrong('[""]', shown="score.url_lists.1 = ''"),
            ),
            "word_lists": (
                Wrong('["gone.txt"]', shown="score.word_lists.1 = 'gone.txt'"),
                Wrong("[3]", shown="score.word_lists.1 = 3"),
            ),
            "arbitrate_language": SWITCH,
            "phone_regions": (
                Wrong('["XX"]', shown="score.phone_regions.1 = 'XX'"),
                Wrong('["DE", "de"]', shown="score.phone_regions.2 = 'de'"),
            ),
            "quality_model": ('"gone.bin"', '"empty.txt"', "3"),
            "quality_label": ('"__label__hq"', "3"),
            "scorers": ("3", Wrong("[{}]", shown="score.scorers.1.kind: missing")),
            "decontaminate": ("3", Wrong("[{}]", shown="score.decontaminate.1.name: missing")),
        },
    ),
    FilterSection: (
        "filter.",
        {
            "labels": ("3", Wrong("[{}]", shown="filter.labels.1.annotation: missing")),
            "profile": CHOICE,
            "takedown": (
                Wrong('["gone.txt"]', shown="filter.takedown.1 = 'gone.txt'"),
                Wrong('["words.txt"]', shown="filter.takedown.1 = 'words.txt'"),
                Wrong('[""]', shown="filter.takedown.1 = ''"),
            ),
            **dict.fromkeys(("respect_opt_out", "drop_noindex", "drop_lorem_ipsum", "drop_curly_brackets"), SWITCH),
            "drop_listed_urls": (*SWITCH, Wrong("false", shown="filter.drop_listed_urls = False with score.url_lists")),
            "allowed_licences": (
                Wrong('[""]', shown="filter.allowed_licences.1 = ''"),
                Wrong('["MIT"]', ('filter.denied_licences=["mit"]',), "filter.denied_licences = ['mit']"),
            ),
            "denied_licences": (
                Wrong('[""]', shown="filter.denied_licences.1 = ''"),
                Wrong('["GPL-3.0"]', ('filter.allowed_licences=["GPL-3.0"]',)),
            ),
            "max_listed_words": (*COUNT, Wrong("2", shown="filter.max_listed_words = 2: the score listed_words is 0")),
            "languages": (
                Wrong('["english"]', shown="filter.languages.1 = 'english'"),
                Wrong('["en", "eng"]', shown="filter.languages.2 = 'eng'"),
            ),
            "min_words": (*COUNT, "100001"),
            "max_words": (*POSITIVE, Wrong("20", shown="filter.min_words = 50 is more than max_words = 20")),
            "min_mean_word_length": (*NON_NEGATIVE_FLOAT, "10.5"),
            "max_mean_word_length": (*POSITIVE_FLOAT, Wrong("2.0", shown="filter.min_mean_word_length = 3.0 is more")),
            **dict.fromkeys(("max_symbol_to_word_ratio", "max_newlines_per_word"), NON_NEGATIVE_FLOAT),
            "min_stop_words": (*COUNT, "50"),
            "min_c4_sentences": COUNT,
            "min_quality": (*FRACTION, Wrong("0.5", shown="filter.min_quality = 0.5: the score quality is 0")),
            "max_contamination": (*FRACTION, Wrong("0.5", shown="filter.max_contamination = 0.5: the score")),
            "rules": ("3", Wrong("[{}]", shown="filter.rules.1.kind: missing")),
            "redact": (Wrong('["name"]', shown="filter.redact.1 = 'name'"), '"email"'),
            **dict.fromkeys(
                [
                    "min_language_margin",
                    "max_code_lines_fraction",
                    "max_duplicate_code_characters_fraction",
                    "max_bullet_lines_fraction",
                    "max_ellipsis_lines_fraction",
                    "min_alpha_words_fraction",
                    "max_duplicate_line_fraction",
                    "max_duplicate_paragraph_fraction",
                    "max_duplicate_line_characters_fraction",
                    "max_duplicate_paragraph_characters_fraction",
                    "max_top_2gram_fraction",
                    "max_top_3gram_fraction",
                    "max_top_4gram_fraction",
                    "max_duplicate_5gram_fraction",
                    "max_duplicate_6gram_fraction",
                    "max_duplicate_7gram_fraction",
                    "max_duplicate_8gram_fraction",
                    "max_duplicate_9gram_fraction",
                    "max_duplicate_10gram_fraction",
                    "max_c4_dropped_lines_fraction",
                    "max_javascript_lines_fraction",
                    "max_policy_lines_fraction",
                    "min_punctuated_lines_fraction",
                    "max_short_lines_fraction",
                ],
                FRACTION,
            ),
        },
    ),
    schema.DedupSection: (
        "dedup.",
        {
            "first_prompts": (*SWITCH, "true"),
            "semantic": ("3", Wrong("{}", shown="dedup.semantic.model: missing")),
            "ngram": (*POSITIVE, "1001", Wrong("4", ('dedup.against=["old"]',))),
            "num_bands": (*POSITIVE, "10001", Wrong("8", ('dedup.against=["old"]',))),
            "rows_per_band": ("33", *POSITIVE, Wrong("4", ('dedup.against=["old"]',))),
            "seed": (*SEED, Wrong("2", ('dedup.against=["old"]',))),
            **dict.fromkeys(("jaccard_threshold", "containment_threshold", "max_removed_fraction"), FRACTION),
            **dict.fromkeys(("max_bucket", "max_cluster_size", "max_line_documents"), POSITIVE),
            "min_passage_words": ("9", *POSITIVE, "10001"),
            "against": (
                '["old", "old"]',
                Wrong('["gone"]', shown="dedup.against has 'gone'"),
                Wrong('["notes"]', shown="dedup.against goes in a circle: notes -> notes"),
                Wrong('["../old"]', shown="dedup.against.1 = '../old'"),
            ),
            "on_alarm": CHOICE,
        },
    ),
    schema.SemanticSection: (
        "dedup.semantic.",
        {
            "model": ('""', "3", '"gone"', '"."'),
            "cosine_threshold": [Wrong(value, ('dedup.semantic.model="."',)) for value in ("0.0", *FRACTION)],
        },
    ),
}
