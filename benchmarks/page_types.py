"""The type of a page: accuracy of the extraction's classifier, by cross-validation; `--write` fits it again.

The examples are the pages of WCXB that are not held out, of seven types which their annotators gave them, and annotated
pages of trafilatura's evaluation set, nearly all of them articles, with the weight ARTICLE_WEIGHT. The model is a
multinomial logistic regression of scikit-learn over the features of the module `page_type`. The peer is the pages' own
metadata: the type of their first known schema.org or Open Graph mark.
"""

import argparse
import json
import statistics
from collections.abc import Mapping, Sequence

import numpy as np
from extraction import WEB
from extraction import read_pages as read_articles
from extraction_by_type import WCXB, read_pages
from harness import machine, one_core, report
from sklearn.feature_extraction import DictVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from pipelines.source.web.extraction.dom import length
from pipelines.source.web.extraction.layout.boilerplate import main_part_of
from pipelines.source.web.extraction.layout.page_type import PAGE_TYPES, WEIGHTS, features
from pipelines.source.web.extraction.markup import Markup
from pipelines.source.web.extraction.visible import visible_page

ARTICLE_WEIGHT = 0.3
MIN_PAGES = 4
"""Pages that have a feature, below which it is left out."""
INVERSE_REGULARIZATION = 0.1
NUM_FOLDS = 8
GOAL = "accuracy >= 0.75 on seven types"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="three folds")
    parser.add_argument("--write", action="store_true", help=f"fit all examples and write {WEIGHTS.name}")
    options = parser.parse_args()
    one_core()
    counts, types, weights = read_examples()
    print(machine("scikit-learn", "resiliparse"))
    num_folds = 3 if options.quick else NUM_FOLDS
    is_typed = weights == 1.0
    expected = types[is_typed]
    right = _cross_validated(counts, types, weights, num_folds)[is_typed] == expected
    for page_type in PAGE_TYPES:
        of_type = right[expected == page_type]
        print(f"| {page_type} | {len(of_type)} | {of_type.mean():.2f} |")
    if options.write:
        WEIGHTS.write_text(fitted(counts, types, weights), encoding="utf-8")
    accuracy = float(right.mean())
    stated = statistics.mean(_stated(each) == page_type for each, page_type in zip(counts, expected, strict=False))
    report("page_types", accuracy, {"stated by the page": stated}, "accuracy", accuracy / stated, GOAL)


def read_examples() -> tuple[list[dict[str, float]], np.ndarray, np.ndarray]:
    """Features, type and weight of each example, those of WCXB first."""
    typed = [(page.html, page.page_type) for page in read_pages(WCXB) if not page.held_out]
    examples = [*typed, *((page.html, "article") for page in read_articles(WEB))]
    counts = [_features(html) for html, _ in examples]
    types = np.array([page_type for _, page_type in examples])
    weights = np.array([1.0] * len(typed) + [ARTICLE_WEIGHT] * (len(examples) - len(typed)))
    return counts, types, weights


def fitted(counts: Sequence[Mapping[str, float]], types: np.ndarray, weights: np.ndarray) -> str:
    """The content of WEIGHTS: the fitted model with the scaling of its features taken into its weights."""
    model = _model().fit(_frequent(counts), types, logisticregression__sample_weight=weights)
    vectorizer, scaler, logistic = (step for _, step in model.steps)
    coefficients = logistic.coef_ / scaler.scale_
    bias = logistic.intercept_ - coefficients @ scaler.mean_
    names = vectorizer.get_feature_names_out()
    by_name = {
        str(name): [_short(value) for value in column] for name, column in zip(names, coefficients.T, strict=True)
    }
    lines = ",\n  ".join(f"{json.dumps(name, ensure_ascii=False)}: {json.dumps(row)}" for name, row in by_name.items())
    head = f'"types": {json.dumps(list(logistic.classes_))},\n "bias": {json.dumps([_short(value) for value in bias])}'
    return f'{{{head},\n "weights": {{\n  {lines}\n}}}}\n'


def _features(html: str) -> dict[str, float]:
    body = visible_page(html).tree.body
    if body is None:
        return {}
    main, text, characters, shares = main_part_of(body, length(body))
    return dict(features(html, Markup(main.html or ""), text, characters, shares))


def _model() -> Pipeline:
    logistic = LogisticRegression(C=INVERSE_REGULARIZATION, max_iter=3000)
    return make_pipeline(DictVectorizer(sparse=False), StandardScaler(), logistic)


def _frequent(counts: Sequence[Mapping[str, float]]) -> list[dict[str, float]]:
    names = [name for each in counts for name in each]
    remaining = {name for name in set(names) if names.count(name) >= MIN_PAGES}
    return [{name: value for name, value in each.items() if name in remaining} for each in counts]


def _cross_validated(
    counts: Sequence[Mapping[str, float]], types: np.ndarray, weights: np.ndarray, num_folds: int
) -> np.ndarray:
    frequent = np.array(_frequent(counts), dtype=object)
    predicted = np.empty(len(types), dtype=object)
    for train, test in StratifiedKFold(num_folds, shuffle=True, random_state=0).split(frequent, types):
        model = _model().fit(frequent[train], types[train], logisticregression__sample_weight=weights[train])
        predicted[test] = model.predict(frequent[test])
    return predicted


def _short(value: float) -> float:
    return float(f"{value:.4g}")


def _stated(counts: Mapping[str, float]) -> str:
    marks = (mark for mark in counts if mark.startswith(("schema.org ", "og:")))
    stated = (mark.replace("og:", "schema.org ").removeprefix("schema.org ") for mark in marks)
    return next((each for each in stated if each in PAGE_TYPES), "article")


if __name__ == "__main__":
    main()
