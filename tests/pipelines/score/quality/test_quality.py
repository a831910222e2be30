"""The quality model separates held-out texts, and is the same after loading it from its file."""

import random
from contextlib import suppress

import numpy as np
import pytest

from pipelines.score import train_quality_model
from pipelines.score.quality.linear import FORMAT, QualityModel, features
from pipelines.score.text.characters import Characters

GOOD = [
    "the",
    "method",
    "returns",
    "a",
    "list",
    "of",
    "values",
    "and",
    "raises",
    "an",
    "error",
    "when",
    "the",
    "argument",
    "is",
    "not",
    "a",
    "number",
]
BAD = [
    "buy",
    "cheap",
    "now",
    "best",
    "offer",
    "click",
    "here",
    "free",
    "win",
    "casino",
    "bonus",
    "today",
    "only",
    "limited",
    "deal",
]


def texts(own: list[str], other: list[str], seed: int) -> list[str]:
    """80 words each, three of four from `own`."""
    random_ = random.Random(seed)
    return [" ".join(random_.choice(own if random_.random() < 0.75 else other) for _ in range(80)) for _ in range(120)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    path = tmp_path_factory.mktemp("quality") / "model.safetensors"
    return path, train_quality_model(texts(GOOD, BAD, 1), texts(BAD, GOOD, 2), path)


def test_texts_it_did_not_see_are_told_apart(trained):
    path, report = trained
    assert report.heldout_accuracy >= 0.95 and report.num_heldout == 24
    model = QualityModel.load(path)
    right = [model.probability(Characters(text)) > 0.5 for text in texts(GOOD, BAD, 3)]
    wrong = [model.probability(Characters(text)) > 0.5 for text in texts(BAD, GOOD, 4)]
    assert np.mean(right) >= 0.95 and np.mean(wrong) <= 0.05


def test_the_same_texts_give_the_same_file(trained, tmp_path):
    path, _ = trained
    train_quality_model(texts(GOOD, BAD, 1), texts(BAD, GOOD, 2), tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()


def test_the_probability_is_the_logistic_of_the_mean_weight(tmp_path):
    text = Characters("to be or not to be")
    weight = np.random.default_rng(0).normal(size=1024).astype(np.float32)
    used = features(text.words.hashes, 1024)
    assert len(used) == 6 + 5 and used.min() >= 0 and used.max() < 1024
    assert used[0] == used[4] and used[6] == used[10]  # "to" and "to be" occur twice
    model = QualityModel(weight, 0.25)
    expected = 1 / (1 + np.exp(-(0.25 + np.mean([float(weight[location]) for location in used]))))
    assert model.probability(text) == pytest.approx(expected)
    assert model.probability(Characters("")) == pytest.approx(1 / (1 + np.exp(-0.25)))


def test_another_file_is_refused_with_its_name(tmp_path):
    from safetensors.numpy import save_file

    (tmp_path / "text.safetensors").write_text("no model")
    save_file({"weight": np.zeros(4, np.float32)}, tmp_path / "other.safetensors")
    for name, reason in (("text", "no quality model"), ("other", FORMAT)):
        with pytest.raises(ValueError, match=reason):
            QualityModel.load(tmp_path / f"{name}.safetensors")
    with pytest.raises(ValueError, match="3 good and 3 bad texts: 10 of each"):
        train_quality_model(["a"] * 3, ["b"] * 3, tmp_path / "few.safetensors")


def test_a_model_that_tells_nothing_apart_is_refused_and_not_saved(tmp_path):
    """Both sides are drawn alike, one of them nine times as often: to call all texts good would be right on 90 %."""
    alike = texts(GOOD, GOOD, 1)
    with pytest.raises(ValueError, match=r"hardly better than chance: right on .* held-out texts\. Nothing was saved"):
        train_quality_model(alike * 9, alike, tmp_path / "model.safetensors")
    assert not list(tmp_path.iterdir())


def noise(num_texts: int, random_: random.Random) -> list[str]:
    return [" ".join(random_.choices(GOOD + BAD, k=40)) for _ in range(num_texts)]


@pytest.mark.parametrize(("num_good", "num_bad"), [(10, 10), (10, 100), (100, 10), (60, 60)])
def test_both_kinds_are_held_out_alike_for_every_seed(tmp_path, num_good, num_bad):
    """Of texts without words all are taken for the same: right on half of each draw, whatever the seed."""
    good, bad = ["..."] * num_good, ["!"] * num_bad
    num_heldout = max(5, num_good // 10) + max(5, num_bad // 10)
    for seed in range(100):
        with pytest.raises(ValueError, match=rf"right on 50\.0% of {num_heldout} held-out"):
            train_quality_model(good, bad, tmp_path / "model.safetensors", seed=seed)


@pytest.mark.parametrize(("num_good", "num_bad"), [(10, 10), (10, 40), (40, 40)])
def test_noise_is_hardly_ever_taken_for_quality_and_quality_always(tmp_path, num_good, num_bad):
    accepted = 0
    for seed in range(40):
        random_ = random.Random(seed)
        with suppress(ValueError):
            path = tmp_path / "noise.safetensors"
            train_quality_model(noise(num_good, random_), noise(num_bad, random_), path, seed=seed)
            accepted += 1
    # One in twenty is 2 of 40; 1 % of all sets of 40 have more than 5.
    assert accepted <= 5
    for seed in range(10):
        good, bad = texts(GOOD, BAD, seed)[:num_good], texts(BAD, GOOD, seed + 99)[:num_bad]
        report = train_quality_model(good, bad, tmp_path / "model.safetensors", seed=seed)
        assert (report.num_good, report.num_bad) == (num_good, num_bad)
