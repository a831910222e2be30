"""Embeddings by a static model in a folder, and the exact arithmetic on them."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from data_recipes import RecipeError
from data_recipes.schema import DedupSection, SemanticSection
from pipelines import dedup
from pipelines.dedup.semantic.clusters import fit_centers, nearest_centers
from pipelines.dedup.semantic.model import load_model
from pipelines.dedup.semantic.pairs import near_pairs, split
from pipelines.dedup.semantic.vectors import MAX_WIDTH, directions, products


def cosines(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    one, other = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in (one, other))
    return one @ other.T


def made(size: int, width: int = 16, seed: int = 0) -> np.ndarray:
    return directions(np.random.default_rng(seed).integers(-(10**6), 10**6, (size, width)))


def test_a_text_is_the_mean_of_the_rows_of_its_known_tokens(static_model):
    words = list(static_model.rows)[:5]
    texts = [" ".join(words), words[0], "none of these", f"none {words[0]}", ""]
    result = load_model(static_model.folder).embed(texts)
    expected = np.mean([static_model.rows[word] for word in words], axis=0)
    assert cosines(result[:1].astype(float), expected[None])[0, 0] > 1 - 1e-6
    assert not result[2].any() and not result[4].any() and (result[1] == result[3]).all()


def test_rows_that_tokens_share_and_weights_of_tokens_count(static_model):
    rows = np.random.default_rng(0).integers(-100, 100, (3, 8)).astype(np.int8)
    mapping = np.arange(97) % 3
    weights = np.linspace(0.1, 2, 97).astype(np.float32)
    save_file({"embeddings": rows, "mapping": mapping, "weights": weights}, static_model.folder / "model.safetensors")
    first, second = list(static_model.rows)[:2]
    result = load_model(static_model.folder).embed([f"{first} {second}"])
    # Ids 1 and 2; id 0 stands for unknown words.
    expected = rows[1].astype(float) * weights[1] + rows[2].astype(float) * weights[2]
    assert cosines(result.astype(float), expected[None])[0, 0] > 1 - 1e-6


FAULTS = {
    "a folder that is not there": (lambda folder: folder.rename(folder.with_name("gone")), "has no model.safetensors"),
    "no tokenizer": (lambda folder: (folder / "tokenizer.json").unlink(), "has no tokenizer.json"),
    "another JSON": (lambda folder: (folder / "tokenizer.json").write_text(json.dumps({})), "not a readable tokenizer"),
    "bytes": (lambda folder: (folder / "model.safetensors").write_bytes(b"pickle"), "no static embeddings"),
    "a transformer": (
        lambda folder: save_file({"encoder.bias": np.ones(3, np.float32)}, folder / "model.safetensors"),
        "no tensor embeddings or embedding.weight, but encoder.bias",
    ),
    "one number a token": (
        lambda folder: save_file({"embeddings": np.ones(97, np.float32)}, folder / "model.safetensors"),
        "instead of",
    ),
    "too few rows": (
        lambda folder: save_file({"embeddings": np.ones((5, 4), np.float32)}, folder / "model.safetensors"),
        "Bring the two files of one model",
    ),
    "no number": (
        lambda folder: save_file({"embeddings": np.full((97, 4), np.nan, np.float32)}, folder / "model.safetensors"),
        "not finite",
    ),
    "a mapping to rows that are missing": (
        lambda folder: save_file(
            {"embeddings": np.ones((5, 4), np.float32), "mapping": np.arange(97)}, folder / "model.safetensors"
        ),
        "no static embeddings",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_model_that_cannot_be_used_is_a_mistake_of_the_recipe(static_model, fault):
    damage, message = FAULTS[fault]
    damage(static_model.folder)
    section = DedupSection(semantic=SemanticSection(model="model"))
    with pytest.raises(RecipeError, match=r"dedup\.semantic\.model = 'model'") as caught:
        dedup.fingerprint(section, static_model.folder.parent)
    assert message in str(caught.value)


@given(st.lists(st.lists(st.integers(-(2**55), 2**55), min_size=5, max_size=5), min_size=1, max_size=5))
def test_directions_keep_the_angle_of_numbers_of_any_size(rows):
    sums = np.array(rows, np.int64)
    result = directions(sums)
    for vector, row in zip(result.astype(float), sums.astype(float), strict=True):
        if row.any():
            assert abs(np.linalg.norm(vector) - 4000) < 2
            assert vector @ row / np.linalg.norm(vector) / np.linalg.norm(row) > 1 - 1e-6
        else:
            assert not vector.any()


@pytest.mark.parametrize("width", [1, 3, 256, MAX_WIDTH])
def test_products_in_float32_are_those_of_whole_numbers(width):
    vectors = np.concatenate([made(6, width), directions(np.ones((1, width), np.int64))])
    exact = vectors.astype(np.int64) @ vectors.astype(np.int64).T
    assert (products(vectors.astype(np.float32), vectors.astype(np.float32)).astype(np.int64) == exact).all()
    assert exact.max() < 2**24


def test_near_pairs_are_those_of_brute_force():
    base = made(40).astype(np.int64)
    vectors = directions(np.concatenate([base, base + made(40, seed=1) // 4, base[:5]]))
    expected = cosines(vectors.astype(float), vectors.astype(float))
    later, earlier, cosine = near_pairs(vectors, 30, 0.9)
    pairs = {(one, two) for one in range(30, 85) for two in range(one) if expected[one, two] >= 0.9}
    assert set(zip(later.tolist(), earlier.tolist(), strict=True)) == pairs and len(pairs) > 40
    assert np.allclose(cosine, expected[later, earlier])


def test_of_very_many_near_ones_the_best_ranked_are_listed(monkeypatch):
    monkeypatch.setattr("pipelines.dedup.semantic.pairs.MAX_NEAR", 3)
    later, earlier, _ = near_pairs(np.repeat(made(1), 6, axis=0), 0, 0.99)
    assert later.tolist() == [1, 2, 2, 3, 3, 3, 4, 4, 4, 5, 5, 5]
    assert earlier.tolist() == [0, 0, 1, *[0, 1, 2] * 3]


def test_centers_of_groups_that_lie_apart_are_their_means():
    groups = np.repeat(made(5, seed=3), 30, axis=0).astype(np.int64) + made(150, seed=4) // 20
    order = np.concatenate([np.arange(start, 150, 30) for start in range(30)])
    vectors = directions(groups[order])
    centers = fit_centers(vectors, 5)
    members = nearest_centers(vectors, centers, 2)
    assert (members[:, 0] == np.arange(150) % 5).all() and (members[:, 1] != members[:, 0]).all()
    for number in range(5):
        mean = vectors[number::5].astype(float).mean(axis=0)
        assert cosines(centers[number : number + 1].astype(float), mean[None])[0, 0] > 1 - 1e-6


@pytest.mark.parametrize("equal", [False, True])
def test_large_clusters_are_split_into_portions_in_order_of_rank(monkeypatch, equal):
    monkeypatch.setattr("pipelines.dedup.semantic.pairs.MAX_COMPARED", 50)
    monkeypatch.setattr("pipelines.dedup.semantic.pairs.SPLIT_DOCUMENTS", 20)
    vectors = np.repeat(made(1), 400, axis=0) if equal else made(400)
    ids = np.random.default_rng(1).permutation(400).astype(np.uint64)
    portions = list(split(vectors, ids))
    assert all(len(rows) <= 50 and (np.diff(rows) > 0).all() for rows in portions)
    assert set(np.concatenate(portions).tolist()) == set(range(400))
