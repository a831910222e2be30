"""A few tokens at a time give the same result as the layers' own code for the whole sequence at once."""

import math
from collections.abc import Iterator, Sequence
from copy import deepcopy
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from arctic_model.inference.cache.slots import Slots
from arctic_model.inference.cpu.cpu_pass import CpuPass
from arctic_model.inference.cpu.products import FEW_ROWS, Product, can_pack
from arctic_model.inference.cpu.row_kernels import exp, softmax, to_powers
from arctic_model.inference.cpu.token_pass import MOST_ROWS, POSITIONS, TokenPass
from arctic_model.inference.language_model import Part, packed_mask
from arctic_model.layers.attention.grouped_query import LayerCache
from arctic_model.model import ArcticModel
from arctic_model.presets import preset

LENGTH = 12
SHAPES = {
    "hybrid": {},
    "router bias": {"router_bias": True},
    "shared expert": {"layer_shape": "shared"},
    "experts only": {"layer_shape": "moe"},
    "every second layer dense": {"moe_layer_frequency": 2},
    "tied head, norms of heads, biases": {"tied_head": True, "qk_norm": True, "qkv_bias": True},
    "one expert a token": {"top_k": 1},
    "learned sinks": {"learned_sinks": True},
}


@pytest.fixture(params=SHAPES)
def model(request: pytest.FixtureRequest) -> ArcticModel:
    model = ArcticModel(preset("tiny", SHAPES[request.param]))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    if model.config.router_bias:
        model.set_router_biases(torch.randn(model.config.num_layers, model.config.num_experts, generator=generator))
    return model.eval()


@pytest.fixture(autouse=True)
def packs_small_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("arctic_model.inference.cpu.products.PACKED_BYTES", 0)


def read_at_once(model: ArcticModel, ids: Tensor) -> Tensor:
    with torch.inference_mode():
        return model(ids[None])[0]


def draw(model: ArcticModel, length: int, seed: int) -> Tensor:
    return torch.randint(0, model.config.vocab_size, (length,), generator=torch.Generator().manual_seed(seed))


PASSES = {"torch": CpuPass, "packed": partial(CpuPass, packed=True), "compiled": TokenPass}


@pytest.mark.parametrize("kind", PASSES)
@torch.inference_mode()
def test_one_by_one_logits_are_those_of_a_pass_over_the_whole_sequence(model: ArcticModel, kind: str) -> None:
    ids, caches, few = draw(model, LENGTH, 1), model.new_caches(LENGTH), PASSES[kind](model)
    rows = [
        few.logits(ids[n].view(1, 1), torch.tensor([[n]]), torch.zeros(1, 1, 1, n + 1), torch.tensor([0]), caches)
        for n in range(LENGTH)
    ]
    torch.testing.assert_close(torch.cat(rows), read_at_once(model, ids), rtol=1e-4, atol=1e-4)
    assert caches[0].length == LENGTH


@pytest.mark.parametrize("kind", PASSES)
@torch.inference_mode()
def test_weights_in_bfloat16_are_rounded_and_nothing_else(model: ArcticModel, kind: str) -> None:
    """Logits are those of a float32 model with these values; the layers' own code in bfloat16 rounds every result."""
    narrow = deepcopy(model).bfloat16()
    ids, few = draw(model, LENGTH, 5), PASSES[kind](narrow)
    caches = [_empty(model) for _ in range(model.config.num_layers)]
    rows = [
        few.logits(ids[n].view(1, 1), torch.tensor([[n]]), torch.zeros(1, 1, 1, n + 1), torch.tensor([0]), caches)
        for n in range(LENGTH)
    ]
    wide = deepcopy(narrow).float()
    torch.testing.assert_close(torch.cat(rows), read_at_once(wide, ids), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", PASSES)
@torch.inference_mode()
def test_sequences_of_unequal_length_are_read_in_pieces_and_grow_side_by_side(model: ArcticModel, kind: str) -> None:
    """Two pieces of each of three sequences in separate passes, then one id of all three in one pass."""
    sequences = [draw(model, length, length) for length in (5, 9, 7)]
    few, slots = CpuPass(model, packed=kind == "packed"), _slots(model, 3)
    expected = [read_at_once(model, ids) for ids in sequences]
    for starts, ends in (((0, 0, 0), (2, 3, 1)), ((2, 3, 1), (4, 8, 6))):
        parts = [Part(slot, *span) for slot, span in enumerate(zip(starts, ends, strict=True))]
        ids = torch.cat([sequences[slot][start:end] for slot, start, end in parts])
        positions = torch.cat([torch.arange(start, end) for _, start, end in parts])
        mask = packed_mask(parts, torch.device("cpu"))
        view = slots.parts(parts)
        logits = few.logits(ids[None], positions[None], mask, torch.arange(len(ids)), view.layers)
        required = torch.cat([expected[slot][start:end] for slot, start, end in parts])
        torch.testing.assert_close(logits, required, rtol=1e-4, atol=1e-4)
    grows = PASSES[kind](model)
    logits = grows.logits(*_grown(sequences), slots.rows([4, 8, 6]).layers)
    torch.testing.assert_close(logits, torch.stack([rows[-1] for rows in expected]), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("count", [2, 3, 4, 5, 8, 33, MOST_ROWS])
@torch.inference_mode()
def test_any_number_of_sequences_grow_side_by_side_as_each_does_alone(count: int, dtype: torch.dtype) -> None:
    model = ArcticModel(preset("tiny", {"hidden_size": 40, "expert_size": 30, "init_std": 0.2}), seed=0).to(dtype)
    few, slots, lengths = TokenPass(model), _slots(model, count), [n % LENGTH for n in range(count)]
    sequences = [draw(model, length + 1, number) for number, length in enumerate(lengths)]
    alone = []
    for slot, ids in enumerate(sequences):
        for n in range(len(ids)):
            last = _read_one(few, ids, n, slots.row(slot, n).layers)
        alone.append(last[0])
    logits = few.logits(*_grown(sequences), slots.rows(lengths).layers)
    torch.testing.assert_close(logits, torch.stack(alone), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", PASSES)
@torch.inference_mode()
def test_sequences_of_one_length_share_a_cache(kind: str) -> None:
    model = ArcticModel(preset("tiny", {"init_std": 0.2}), seed=0).eval()
    few, caches = PASSES[kind](model), [_empty(model, 3) for _ in range(model.config.num_layers)]
    sequences = torch.stack([draw(model, 4, seed) for seed in range(3)])
    for n in range(4):
        mask, positions = torch.zeros(3, 1, 1, n + 1), torch.full((3, 1), n)
        logits = few.logits(sequences[:, n, None], positions, mask, torch.arange(3), caches)
    expected = torch.stack([read_at_once(model, ids)[-1] for ids in sequences])
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_a_sequence_that_is_not_finite_spoils_no_other() -> None:
    """In the cache of the second of three, in a model whose rows share experts."""
    model = ArcticModel(preset("tiny", {"init_std": 0.2}), seed=0)
    few, logits = TokenPass(model), []
    for spoiled in (False, True):
        slots = _slots(model, 3)
        if spoiled:
            for tensor in slots.tensors():
                tensor[1] = torch.nan
        sequences = [draw(model, 4, seed) for seed in range(3)]
        logits.append(few.logits(*_grown(sequences), slots.rows([3, 3, 3]).layers))
    clean, dirty = logits
    assert dirty[1].isnan().all()
    torch.testing.assert_close(dirty[[0, 2]], clean[[0, 2]], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["torch", "compiled"])
@torch.inference_mode()
def test_a_masked_key_is_not_seen_and_positions_are_those_given(model: ArcticModel, kind: str) -> None:
    ids, caches, few = draw(model, LENGTH, 2), model.new_caches(LENGTH), PASSES[kind](model)
    for n in range(LENGTH):
        mask = torch.zeros(1, 1, 1, n + 1)
        # The first two are padding, which everything after them leaves out.
        mask[..., : min(2, n)] = -torch.inf
        position = torch.tensor([[max(0, n - 2)]])
        last = few.logits(ids[n].view(1, 1), position, mask, torch.tensor([0]), caches)
    torch.testing.assert_close(last[0], read_at_once(model, ids[2:])[-1], rtol=1e-4, atol=1e-4)


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("threads", [2, 7], ids=["side by side", "late, when others have computed everything"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_threads_change_no_bit(dtype: torch.dtype, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The products of this model have several blocks. Of seven threads, five start after the first two have ended."""
    model = ArcticModel(preset("tiny", {"hidden_size": 320, "expert_size": 96, "init_std": 0.1}), seed=0).to(dtype)
    ids, results = draw(model, LENGTH, 6), []
    for count in (1, threads):
        monkeypatch.setattr("arctic_model.inference.cpu.row_kernels.num_threads", partial(int, count))
        caches = [_empty(model) for _ in range(model.config.num_layers)]
        results.append((torch.cat([_read_one(TokenPass(model), ids, n, caches) for n in range(LENGTH)]), caches))
    (alone, first), (shared, second) = results
    assert alone.abs().max() > 0.1 and torch.equal(alone, shared)
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one.keys, other.keys) and torch.equal(one.values, other.values)


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("threads", [2, 7])
@pytest.mark.parametrize("count", [3, 11])
@torch.inference_mode()
def test_threads_change_no_bit_of_several_sequences(count: int, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few of many experts are chosen, in each layer another number of them: a late thread sees those of the last."""
    overrides = {"hidden_size": 320, "expert_size": 96, "init_std": 0.1, "num_layers": 6, "num_experts": 16}
    model = ArcticModel(preset("tiny", overrides), seed=0)
    sequences, results = [draw(model, 1 + n % LENGTH, n) for n in range(count)], []
    for team in (1, threads):
        monkeypatch.setattr("arctic_model.inference.cpu.row_kernels.num_threads", partial(int, team))
        lengths, slots = [len(ids) - 1 for ids in sequences], _slots(model, count)
        logits = TokenPass(model).logits(*_grown(sequences), slots.rows(lengths).layers)
        results.append([logits, *slots.tensors()])
    for alone, shared in zip(*results, strict=True):
        assert alone.abs().max() > 0.1 and torch.equal(alone, shared)


@pytest.mark.parametrize("length", [1, 7, 8, 64, 1001])
def test_powers_of_e_are_those_of_numpy(length: int) -> None:
    """In any number of lanes: those of float64 to 4e-7 of each, from the smallest to the largest."""
    numbers = np.linspace(-86.9, 0, length, dtype=np.float32)
    powers = numbers.copy()
    total = to_powers(powers)
    exact = np.exp(numbers.astype(np.float64) - float(numbers.max()))
    np.testing.assert_allclose(powers, exact, rtol=4e-7)
    np.testing.assert_allclose(total, exact.sum(), rtol=1e-6)


@pytest.mark.parametrize("x, power", [(-np.inf, 0), (-1000, 0), (0, 1), (88, math.exp(88)), (1000, math.exp(88))])
def test_powers_of_e_beyond_those_of_float32_are_the_nearest_one(x: float, power: float) -> None:
    np.testing.assert_allclose(exp(np.float32(x)), power, rtol=4e-7)
    assert math.isnan(exp(np.float32(math.nan)))


def test_no_bit_depends_on_where_arrays_are_in_memory() -> None:
    """Small arrays lie next to each other, in an order that follows from all that the process did before."""
    generator, others = np.random.default_rng(0), list[np.ndarray]()
    for length in range(1, 64):
        scores, results = generator.normal(size=length).astype(np.float32), set()
        for _ in range(500):
            others.append(np.empty(generator.integers(1, 64), np.float32))
            if len(others) > 300:
                del others[generator.integers(300)]
            copy = np.empty(length + generator.integers(40), np.float32)[-length:]
            copy[:] = scores
            results.add(softmax(copy).tobytes())
        assert len(results) == 1, length


def test_an_id_whose_logits_nobody_keeps_is_in_the_cache(model: ArcticModel) -> None:
    ids, caches, few = draw(model, 3, 7), [_empty(model) for _ in range(model.config.num_layers)], TokenPass(model)
    for n in range(2):
        assert _read_one(few, ids, n, caches, keep=[]).shape == (0, model.config.vocab_size)
    last = _read_one(few, ids, 2, caches)
    torch.testing.assert_close(last[0], read_at_once(model, ids)[-1], rtol=1e-4, atol=1e-4)


def test_sequences_in_turns_each_have_their_own_keys() -> None:
    """Each of them, and one whose cache takes the memory of another that is gone."""
    model = ArcticModel(preset("tiny", {"init_std": 0.1}), seed=0).eval()
    few = TokenPass(model)
    for seeds in ((1, 2), (3,)):
        caches = {seed: model.new_caches(LENGTH) for seed in seeds}
        texts = {seed: draw(model, LENGTH, seed) for seed in seeds}
        logits: dict[int, list[Tensor]] = {seed: [] for seed in seeds}
        for n in range(LENGTH):
            for seed, ids in texts.items():
                logits[seed].append(_read_one(few, ids, n, caches[seed]))
        for seed, ids in texts.items():
            torch.testing.assert_close(torch.cat(logits[seed]), read_at_once(model, ids), rtol=1e-4, atol=1e-4)
        del caches


@torch.inference_mode()
@pytest.mark.parametrize("overrides", [{}, {"yarn_factor": 4.0, "yarn_original_positions": 64}], ids=["plain", "yarn"])
def test_positions_turn_heads_in_any_order(overrides: dict[str, Any]) -> None:
    """Those around the ends of the parts that are computed together, forth and back."""
    model = ArcticModel(preset("tiny", {"init_std": 0.1} | overrides), seed=0).eval()
    few, whole = TokenPass(model), CpuPass(model)
    mask, keep, caches = torch.zeros(1, 1, 1, 2), torch.tensor([0]), [model.new_caches(2) for _ in range(2)]
    for position in (0, POSITIONS - 1, POSITIONS, 2 * POSITIONS, POSITIONS + 1, 10**6, 3):
        results = []
        for reads, held in zip((few, whole), caches, strict=True):
            for cache in held:
                cache.length = 1
                cache.keys[:, :, 0] = cache.values[:, :, 0] = 0.1
            results.append(reads.logits(torch.tensor([[7]]), torch.tensor([[position]]), mask, keep, held))
        torch.testing.assert_close(*results, rtol=1e-4, atol=1e-4)


def test_a_full_cache_is_not_overrun() -> None:
    """The kernel writes by address: behind the cache there is the memory of others."""
    model = ArcticModel(preset("tiny"), seed=0)
    ids, caches, few = draw(model, LENGTH, 8), model.new_caches(LENGTH - 1), TokenPass(model)
    for n in range(LENGTH - 1):
        _read_one(few, ids, n, caches)
    with pytest.raises(AssertionError):
        _read_one(few, ids, LENGTH - 1, caches)
    assert caches[0].length == LENGTH - 1


@pytest.mark.parametrize("num_rows", [1, 2, 5, 33])
def test_packed_weights_multiply_as_they_are(num_rows: int) -> None:
    generator = torch.Generator().manual_seed(3)
    weights, biases = [torch.randn(40, 24, generator=generator) for _ in range(3)], torch.randn(3, 40).unbind()
    rows = torch.randn(num_rows, 24, generator=generator)
    assert can_pack(weights[0]) and not can_pack(weights[0].bfloat16())
    for product, weight, bias in zip(Product(weights, biases, packed=True)(rows), weights, biases, strict=True):
        exact = rows.double() @ weight.double().T + bias.double()
        torch.testing.assert_close(product.double(), exact, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("num_rows", [1, 2, 3, 4, 5, 7, 8, 9, 12, FEW_ROWS, FEW_ROWS + 1])
def test_few_rows_multiply_as_many_do(num_rows: int, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(4)
    weights = [torch.randn(size, 24, generator=generator).to(dtype) for size in (40, 7)]
    biases = [torch.randn(len(weight), generator=generator).to(dtype) for weight in weights]
    rows = torch.randn(24, num_rows, generator=generator).T
    for product, weight, bias in zip(Product(weights, biases)(rows), weights, biases, strict=True):
        exact = rows.double() @ weight.double().T + bias.double()
        torch.testing.assert_close(product.double(), exact, rtol=1e-5, atol=1e-5)


def test_what_is_not_finite_stays_so() -> None:
    """The engine refuses a model by its logits."""
    rows = torch.full((1, 24), torch.nan)
    [product] = Product([torch.ones(40, 24)])(rows)
    assert product.isnan().all()


@torch.inference_mode()
def _read_one(few: TokenPass, ids: Tensor, n: int, caches: list[LayerCache], keep: Sequence[int] = (0,)) -> Tensor:
    mask, kept = torch.zeros(1, 1, 1, n + 1), torch.tensor(keep, dtype=torch.long)
    return few.logits(ids[n].view(1, 1), torch.tensor([[n]]), mask, kept, caches)


def _grown(sequences: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Ids, positions, mask and rows to keep of a pass over the last id of each sequence."""
    lengths = torch.tensor([len(ids) - 1 for ids in sequences])
    mask = torch.zeros(len(sequences), int(lengths.max()) + 1)
    mask.masked_fill_(torch.arange(mask.shape[1]) > lengths[:, None], -torch.inf)
    last = torch.stack([ids[-1] for ids in sequences])[:, None]
    return last, lengths[:, None], mask[:, None, None], torch.arange(len(sequences))


def _slots(model: ArcticModel, num_slots: int) -> Slots:
    return Slots([_empty(model, num_slots) for _ in range(model.config.num_layers)])


def _empty(model: ArcticModel, num_slots: int = 1) -> LayerCache:
    shape = num_slots, model.config.num_kv_heads, 16, model.config.head_dim
    return LayerCache(torch.zeros(shape), torch.zeros(shape))
