"""Muon against torch's own, matrix by matrix, and against itself cut into parts."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.optim._muon import muon as torch_muon

from arctic_model.model import ArcticModel
from arctic_model.presets import preset
from arctic_model.training.optimization import muon
from arctic_model.training.optimization.muon import FlatMatrices, muon_step, orthogonalized, partition
from arctic_model.training.optimization.optimizer import new_optimizer
from arctic_model.training.optimization.settings import MOMENTS, Optimization

SHAPES = [(12, 20), (20, 12), (3, 12, 20), (16, 16)]


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def flat(tensors: list[Tensor]) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors])


def laid_out(shapes: list[tuple[int, ...]]) -> list[tuple[int, torch.Size]]:
    """Offsets and shapes of parameters that lie one after the other."""
    sizes = [torch.Size(shape) for shape in shapes]
    return [(sum(size.numel() for size in sizes[:number]), size) for number, size in enumerate(sizes)]


def stepped(parameters: list[Tensor], steps: int, dtype: torch.dtype) -> list[Tensor]:
    """Parameters after `steps` steps of ours with gradients that depend on the step."""
    weights, momentum = flat(parameters), torch.zeros(sum(p.numel() for p in parameters))
    part = partition(laid_out([tuple(p.shape) for p in parameters]), weights.numel(), 0)
    for step in range(steps):
        gradient = flat([noise(*p.shape, seed=step) for p in parameters])
        tensors = [FlatMatrices(weights, gradient, momentum, part)]
        muon_step(tensors, learning_rate=0.02, weight_decay=0.1, dtype=dtype)
    return [t.view_as(p) for t, p in zip(weights.split([p.numel() for p in parameters]), parameters, strict=True)]


def torch_stepped(parameter: Tensor, gradients: list[Tensor]) -> Tensor:
    """By the function that `torch.optim.Muon` calls; the class itself would import torch's compiler, seconds."""
    weight, momentum = parameter.clone(), torch.zeros_like(parameter)
    for gradient in gradients:
        torch_muon(
            [weight],
            [gradient],
            [momentum],
            lr=0.02,
            weight_decay=0.1,
            momentum=0.95,
            nesterov=True,
            ns_coefficients=(3.4445, -4.7750, 2.0315),
            ns_steps=5,
            eps=1e-7,
            adjust_lr_fn="match_rms_adamw",
            has_complex=False,
        )
    return weight


def test_each_matrix_of_each_parameter_steps_as_torch_steps_it() -> None:
    """torch's works in bfloat16 only; two paths through its products differ by a rounding of an update, 2^-8."""
    parameters = [noise(*shape, seed=9) for shape in SHAPES]
    for result, parameter in zip(stepped(parameters, 3, torch.bfloat16), parameters, strict=True):
        gradients = [noise(*parameter.shape, seed=step) for step in range(3)]
        matrices = parameter.shape[0] if parameter.dim() == 3 else None
        if matrices is None:
            expected = torch_stepped(parameter, gradients)
        else:
            expected = torch.stack([torch_stepped(parameter[e], [g[e] for g in gradients]) for e in range(matrices)])
        moved = (expected - parameter).abs().max()
        torch.testing.assert_close(result, expected, rtol=0, atol=float(moved) * 2**-6)


@pytest.mark.parametrize("shape", [(2, 24, 40), (2, 40, 24), (1, 32, 32)])
def test_orthogonalized_matrices_are_the_quintic_of_their_singular_values(shape: tuple[int, ...]) -> None:
    """The definition, in float64: singular vectors stay, singular values go through the polynomial five times."""
    matrices = noise(*shape, dtype=torch.float64)
    left, values, right = torch.linalg.svd(matrices, full_matrices=False)
    values = values / values.square().sum(-1, keepdim=True).sqrt()
    a, b, c = muon.COEFFICIENTS
    for _ in range(5):
        values = a * values + b * values**3 + c * values**5
    expected = left @ torch.diag_embed(values) @ right
    torch.testing.assert_close(orthogonalized(matrices), expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(orthogonalized(matrices.float()).double(), expected, rtol=0, atol=2e-4)
    assert float(values.max()) < 1.3


def test_a_matrix_without_gradient_stays_zero() -> None:
    assert torch.equal(orthogonalized(torch.zeros(2, 4, 6)), torch.zeros(2, 4, 6))


@settings(max_examples=12, deadline=None)
@given(st.lists(st.sampled_from(SHAPES), min_size=1, max_size=3), st.integers(1, 5))
def test_cut_anywhere_the_step_is_that_of_whole_matrices(shapes: list[tuple[int, ...]], workers: int) -> None:
    parameters = [noise(*shape, seed=7) for shape in shapes]
    whole = flat(stepped(parameters, 2, torch.float32))
    assert torch.allclose(cut_stepped(parameters, 2, workers), whole, rtol=0, atol=1e-6)


def cut_stepped(parameters: list[Tensor], steps: int, workers: int) -> Tensor:
    """The flat parameters, cut evenly (with padding) over `workers` threads that exchange through an adder."""
    size = -(-sum(p.numel() for p in parameters) // workers)
    weights, momentum = padded(flat(parameters), size * workers), torch.zeros(workers * size)
    barrier, buffers = Barrier(workers), [torch.empty(0)] * workers

    def all_reduce(shared: Tensor, group: int) -> None:
        buffers[group] = shared.clone()
        barrier.wait()
        shared.copy_(torch.stack(buffers).sum(0))
        barrier.wait()

    def work(rank: int) -> None:
        part = partition(laid_out([tuple(p.shape) for p in parameters]), size, rank, rank)
        own = slice(rank * size, (rank + 1) * size)
        for step in range(steps):
            gradient = padded(flat([noise(*p.shape, seed=step) for p in parameters]), size * workers)[own]
            tensors = [FlatMatrices(weights[own], gradient, momentum[own], part)]
            muon_step(tensors, learning_rate=0.02, weight_decay=0.1, dtype=torch.float32)

    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(workers) as pool:
        patch.setattr(muon.dist, "all_reduce", all_reduce)
        list(pool.map(work, range(workers)))
    return weights[: sum(p.numel() for p in parameters)]


def test_matrices_of_one_shape_are_one_batch_whichever_tensor_they_are_in(monkeypatch: pytest.MonkeyPatch) -> None:
    batches: list[tuple[int, ...]] = []
    product = muon.orthogonalized
    monkeypatch.setattr(muon, "orthogonalized", lambda x: batches.append(tuple(x.shape)) or product(x))
    parameters = [noise(*shape, seed=number) for number, shape in enumerate([*SHAPES, *SHAPES])]
    tensors = [
        FlatMatrices(p.clone().view(-1), p.view(-1), torch.zeros(p.numel()), partition([(0, p.shape)], p.numel(), 0))
        for p in parameters
    ]
    muon_step(tensors, learning_rate=0.02, weight_decay=0.1, dtype=torch.float32)
    assert sorted(batches) == [(2, 16, 16), (2, 20, 12), (8, 12, 20)]
    for parameter, each in zip(parameters, tensors, strict=True):
        alone = FlatMatrices(parameter.clone().view(-1), *each[1:2], torch.zeros(parameter.numel()), each.part)
        muon_step([alone], learning_rate=0.02, weight_decay=0.1, dtype=torch.float32)
        torch.testing.assert_close(each.weights, alone.weights, rtol=0, atol=1e-6)


def padded(tensor: Tensor, size: int) -> Tensor:
    return torch.cat([tensor, torch.zeros(size - tensor.numel())])


def test_muon_takes_the_layers_matrices_and_adamw_the_rest() -> None:
    model = ArcticModel(preset("tiny"))
    optimizer = new_optimizer(model, Optimization(optimizer="muon"), "experts")
    optimizer.zero_states()
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    by_muon = {names[id(p)] for group in optimizer.param_groups if group["muon"] for p in group["params"]}
    in_layers = {name for name in names.values() if name.startswith("model.layers.")}
    ours = ("q_proj", "k_proj", "v_proj", "o_proj", "w1", "w2", "w3")
    assert by_muon == {name for name in in_layers if name.removesuffix(".weight").rsplit(".", 1)[-1] in ours}
    assert len(by_muon) == 2 * (4 + 3 + 3)
    for parameter, name in names.items():
        remaining = next(state for p, state in optimizer.state.items() if id(p) == parameter)
        assert set(remaining) - {"step"} == ({"momentum_buffer"} if name in by_muon else set(MOMENTS))


def test_adamw_steps_every_parameter_as_torch_does() -> None:
    """Decay of matrices and experts, none of gains; the gradient scaled by the given factor."""
    settings_ = Optimization(weight_decay=0.2, beta1=0.8, beta2=0.9)
    ours, theirs = ArcticModel(preset("tiny")), ArcticModel(preset("tiny"))
    for (name, a), b in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        with torch.no_grad():
            a.copy_(noise(*a.shape, seed=len(name)))
            b.copy_(a)
    optimizer = new_optimizer(ours, settings_, "experts")
    optimizer.zero_states()
    gains = [p for p in theirs.parameters() if p.dim() == 1]
    others = [p for p in theirs.parameters() if p.dim() > 1]
    groups = [{"params": others, "weight_decay": 0.2}, {"params": gains, "weight_decay": 0.0}]
    reference = torch.optim.AdamW(groups, lr=0.01, betas=(0.8, 0.9))
    for step in range(3):
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
            a.grad = noise(*a.shape, seed=step)
            b.grad = 0.5 * a.grad
        optimizer.prepare(0.01, 0.5)
        optimizer.step()
        reference.step()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_a_step_without_a_scale_changes_nothing(name: str) -> None:
    model = ArcticModel(preset("tiny"))
    for parameter in model.parameters():
        parameter.data.fill_(1.0)
        parameter.grad = torch.full_like(parameter, float("nan"))
    optimizer = new_optimizer(model, Optimization(optimizer=name), "experts")
    optimizer.zero_states()
    optimizer.prepare(0.01, None)
    optimizer.step()
    assert all(torch.equal(parameter, torch.ones_like(parameter)) for parameter in model.parameters())
    assert all(not value.any() for state in optimizer.state.values() for value in state.values())
