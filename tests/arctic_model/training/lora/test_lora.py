"""Adapters: they begin as zero, learn the same as PEFT's, and have the same effect merged and unmerged."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn

from arctic_model.checkpoint.errors import CheckpointError
from arctic_model.checkpoint.reading import Checkpoint
from arctic_model.checkpoint.tensors.names import unstacked
from arctic_model.kernels.fp8_blocks import dequantize_blocks, quantize_blocks
from arctic_model.kernels.row_groups import are_padded, arrange, lay_out
from arctic_model.layer import ForwardPolicy
from arctic_model.model import ArcticModel
from arctic_model.moe.experts import Experts
from arctic_model.presets import preset
from arctic_model.training.lora import (
    Lora,
    adapter_tensors,
    adapters,
    add_adapters,
    read_adapter,
    write_adapter,
    write_merged,
)
from arctic_model.training.lora.adapters import LoraLinear
from arctic_model.training.lora.experts import LoraExperts
from arctic_model.training.lora.frozen import dense, fp8_matrices
from arctic_model.training.lora.tokens import head_changes
from arctic_model.training.losses.cross_entropy import head_nll, row_nll
from arctic_model.training.optimization.settings import LoraTarget, part_of
from tests.kit.tokenizers import write_byte_tokenizer

CONFIG = preset("tiny", {"init_std": 0.1, "num_layers": 2})
IDS = torch.arange(4, 4 + 60).view(2, 30)
LORAS = [
    Lora(rank=4, alpha=8.0),
    Lora(rank=4, alpha=8.0, rslora=True),
    Lora(rank=3, alpha=6.0, targets=("attention",)),
    Lora(rank=3, alpha=6.0, targets=("dense",)),
    Lora(rank=4, alpha=8.0, targets=("experts",)),
    # Of a rank that grouped products refuse.
    Lora(rank=3, alpha=8.0, rslora=True, targets=("attention", "dense", "experts")),
    Lora(rank=4, alpha=8.0, tokens=(9, 5)),
]


@pytest.mark.parametrize("learned_sinks", [False, True])
def test_new_adapters_change_nothing_and_are_all_that_learns(learned_sinks: bool) -> None:
    config = replace(CONFIG, learned_sinks=learned_sinks)
    model, plain = ArcticModel(config, seed=0), ArcticModel(config, seed=0)

    add_adapters(model, Lora(rank=4))

    with torch.no_grad():
        assert torch.equal(model(IDS), plain(IDS))
    model(IDS).square().mean().backward()
    learning = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert learning == {name for name, _ in adapters(model)}
    # A and B of four matrices of attention and three of the MLP.
    assert len(learning) == CONFIG.num_layers * 7 * 2


@pytest.mark.parametrize("rank", [3, 4])
@pytest.mark.parametrize("quantize_base", [False, True])
def test_adapters_of_experts_learn_what_a_loop_over_experts_learns(rank: int, quantize_base: bool) -> None:
    """The oracle multiplies each expert's rows by W + s B A, in float64, by torch's own autograd."""
    counts, inner, width = [5, 0, 9, 2], 24, 32
    lora = Lora(rank=rank, alpha=8.0, targets=("experts",), quantize_base=quantize_base)
    generator = torch.Generator().manual_seed(0)
    experts = Experts(len(counts), width, inner)
    for parameter in experts.parameters():
        parameter.data.normal_(std=0.2, generator=generator).requires_grad_(False)
    adapted = LoraExperts(experts, lora)
    for _, parameter in adapters(adapted):
        parameter.data.normal_(std=0.2, generator=generator)
    rows = torch.randn(sum(counts), width, generator=generator)
    padded = are_padded(rows, *adapted.inner_widths)
    groups = lay_out(torch.tensor(counts).cumsum(0), len(rows), padded=padded)
    order, inverse = arrange(groups, torch.arange(len(rows)), torch.arange(len(rows)), 0)
    ours = rows.clone().requires_grad_()

    output = adapted(ours[order], groups)[inverse]
    output.square().sum().backward()

    theirs = rows.double().requires_grad_()
    pairs = {name: each.detach().double().requires_grad_() for name, each in adapters(adapted)}
    w1, w2, w3 = (dense(each, torch.float32).double() for each in (adapted.w1, adapted.w2, adapted.w3))
    outputs = []
    for expert, part in enumerate(theirs.split(counts)):
        low = lora.scale * pairs["gate_up_lora_B"][expert] @ pairs["gate_up_lora_A"][expert]
        gate, up = part @ w1[expert].T + part @ low[:inner].T, part @ w3[expert].T + part @ low[inner:].T
        down = w2[expert] + lora.scale * pairs["down_lora_B"][expert] @ pairs["down_lora_A"][expert]
        outputs.append((F.silu(gate) * up) @ down.T)
    expected = torch.cat(outputs)
    expected.square().sum().backward()
    assert padded == (rank == 3)
    torch.testing.assert_close(output.double(), expected, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(ours.grad.double(), theirs.grad, atol=1e-3, rtol=1e-4)
    for name, parameter in adapters(adapted):
        torch.testing.assert_close(parameter.grad.double(), pairs[name].grad, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("targets", [("attention", "dense"), ("dense",), ("attention", "experts")])
def test_a_base_in_fp8_takes_a_byte_per_weight_and_computes_what_its_blocks_hold(
    targets: tuple[LoraTarget, ...],
) -> None:
    model, plain = ArcticModel(CONFIG, seed=0), ArcticModel(CONFIG, seed=0)
    adapter = Lora(rank=4, targets=targets)

    add_adapters(model, replace(adapter, quantize_base=True), seed=1)
    # The oracle multiplies by the values of the same blocks in float32.
    for name, parameter in plain.named_parameters():
        matrices = parameter.data if parameter.dim() == 3 else parameter.data[None]
        if part_of(name) in ("attention", "dense", "experts"):
            for matrix in matrices:
                matrix.copy_(dequantize_blocks(*quantize_blocks(matrix)))
    add_adapters(plain, adapter, seed=1)
    gradients = []
    for each in (model, plain):
        for _, parameter in adapters(each):
            parameter.data.add_(0.01)
        each(IDS).square().mean().backward()
        gradients.append({name: parameter.grad for name, parameter in adapters(each)})

    with torch.no_grad():
        torch.testing.assert_close(model(IDS), plain(IDS), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-6, rtol=1e-4)
    quantized = dict(fp8_matrices(model))
    matrices = CONFIG.num_layers * (4 + 3 + 3)
    assert len(quantized) == matrices
    for name, matrix in quantized.items():
        assert matrix.codes.element_size() == 1
        assert name not in dict(model.named_parameters())


def test_dropout_leaves_out_inputs_of_adapters_in_training_alone() -> None:
    model = ArcticModel(CONFIG, seed=0)
    add_adapters(model, Lora(rank=4, dropout=0.25))
    layer = model.get_submodule("model.layers.0.self_attn.q_proj")
    assert isinstance(layer, LoraLinear)
    with torch.no_grad():
        layer.lora_B.weight.normal_()
        x = torch.randn(64, CONFIG.hidden_size)
        whole = layer.eval()(x)
        torch.manual_seed(0)
        trained = layer.train()(x)
        torch.manual_seed(0)
        # Inverted dropout: the remaining values are scaled, so that the mean stays.
        mask = (F.dropout(torch.ones_like(x), 0.25) > 0) / 0.75
        expected = F.linear(x, layer.weight) + layer.scale * layer.lora_B(layer.lora_A(x * mask))

    torch.testing.assert_close(trained, expected)
    torch.testing.assert_close(whole, F.linear(x, layer.weight) + layer.scale * layer.lora_B(layer.lora_A(x)))
    assert not torch.allclose(trained, whole, atol=1e-3)


@pytest.mark.parametrize("recomputed", ["selective", "layer"])
def test_recomputed_layers_leave_out_the_same_inputs(recomputed: Literal["selective", "layer"]) -> None:
    gradients = []
    for activation_checkpointing in ("none", recomputed):
        model = ArcticModel(CONFIG, seed=0)
        add_adapters(model, Lora(rank=4, dropout=0.5))
        with torch.no_grad():
            for _, parameter in adapters(model):
                parameter.add_(0.1)
        torch.manual_seed(0)
        model.hidden_states(IDS, policy=ForwardPolicy(0.0, activation_checkpointing)).hidden.square().mean().backward()
        gradients.append([parameter.grad for _, parameter in adapters(model)])

    for plain, again in zip(*gradients, strict=True):
        torch.testing.assert_close(again, plain)


@pytest.mark.parametrize("lora", LORAS, ids=str)
def test_a_merged_checkpoint_is_the_model_with_its_adapters(lora: Lora, tmp_path: Path) -> None:
    model, tensors = adapted(lora, tmp_path / "base")

    write_merged(tmp_path / "merged", tmp_path / "base", lora, tensors)

    merged = ArcticModel.from_pretrained(tmp_path / "merged")
    with torch.no_grad():
        torch.testing.assert_close(merged(IDS), model(IDS), atol=1e-5, rtol=1e-5)
        assert not torch.allclose(merged(IDS), ArcticModel.from_pretrained(tmp_path / "base")(IDS), atol=1e-3)
    # Parameters without an adapter are unchanged, bit for bit.
    stored = Checkpoint(tmp_path / "merged")
    tuned = {*lora.targets, *(("embeddings", "head") if lora.tokens else ())}
    frozen = [name for name in stored.names if part_of(name) not in tuned]
    assert frozen
    assert all(torch.equal(stored.read(name), Checkpoint(tmp_path / "base").read(name)) for name in frozen)


def test_adapters_merge_into_what_a_base_in_fp8_holds(tmp_path: Path) -> None:
    lora = Lora(rank=4, targets=("attention", "experts"), quantize_base=True)
    model, tensors = adapted(lora, tmp_path / "base")

    write_merged(tmp_path / "merged", tmp_path / "base", lora, tensors)

    merged = ArcticModel.from_pretrained(tmp_path / "merged")
    with torch.no_grad():
        torch.testing.assert_close(merged(IDS), model(IDS), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("lora", LORAS, ids=str)
def test_peft_loads_the_adapters_on_the_export_and_learns_the_same(lora: Lora, tmp_path: Path) -> None:
    peft, _ = pytest.importorskip("peft"), pytest.importorskip("transformers")
    from arctic_model.export.formats import FORMATS
    from arctic_model.export.remote_code.modeling_arctic import ArcticForCausalLM

    model, tensors = adapted(lora, tmp_path / "base")
    write_byte_tokenizer(tmp_path)
    (tmp_path / "export").mkdir()
    FORMATS["huggingface"].write(Checkpoint(tmp_path / "base"), tmp_path, tmp_path / "export", "float32")
    write_adapter(tmp_path / "adapter", lora, tensors, "ab")

    export = ArcticForCausalLM.from_pretrained(tmp_path / "export", dtype=torch.float32).eval()
    theirs = peft.PeftModel.from_pretrained(export, tmp_path / "adapter", is_trainable=True)

    targets = IDS.roll(-1, 1).flatten()
    for each in (model, theirs):
        logits = each(IDS) if each is model else each(IDS).logits
        nn.functional.cross_entropy(logits.flatten(0, 1), targets).backward()
    with torch.no_grad():
        torch.testing.assert_close(theirs(IDS).logits, model(IDS), atol=1e-5, rtol=1e-5)
    gradients = {
        name.replace(".default.", ".").removesuffix(".default"): parameter.grad
        for name, parameter in theirs.named_parameters()
        if parameter.requires_grad
    }
    write_adapter(tmp_path / "gradients", lora, adapter_gradients(model), "ab")
    assert gradients.keys() == load_file(tmp_path / "adapter" / "adapter_model.safetensors").keys()
    ours = load_file(tmp_path / "gradients" / "adapter_model.safetensors")
    for name, gradient in ours.items():
        torch.testing.assert_close(gradient, gradients[name], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("tied_head", [False, True])
def test_trained_tokens_begin_as_the_base_and_change_no_other_row(tied_head: bool, tmp_path: Path) -> None:
    config = replace(CONFIG, tied_head=tied_head)
    model, plain = ArcticModel(config, seed=0), ArcticModel(config, seed=0)
    plain.save_pretrained(tmp_path / "base")
    lora = Lora(rank=4, tokens=(9, 5))

    add_adapters(model, lora)

    with torch.no_grad():
        torch.testing.assert_close(model(IDS), plain(IDS), atol=1e-6, rtol=1e-6)
        for name, parameter in adapters(model):
            if "trained_tokens" in name:
                parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    write_merged(tmp_path / "merged", tmp_path / "base", lora, adapter_tensors(model))
    merged = ArcticModel.from_pretrained(tmp_path / "merged")
    rows = merged.model.embed_tokens.weight == plain.model.embed_tokens.weight
    assert (~rows).any(dim=1).nonzero().flatten().tolist() == [5, 9]
    with torch.no_grad():
        torch.testing.assert_close(merged(IDS), model(IDS), atol=1e-5, rtol=1e-5)
        assert not torch.allclose(merged(IDS), plain(IDS), atol=1e-3)


@pytest.mark.parametrize("tied_head", [False, True])
@pytest.mark.parametrize("by_row", [False, True])
def test_the_loss_with_trained_tokens_is_that_of_the_whole_matrices(tied_head: bool, by_row: bool) -> None:
    """The oracle computes all logits from a model whose embedding and head hold the trained rows; its gradients of
    these rows are the reference."""
    config, tokens, targets = replace(CONFIG, tied_head=tied_head), (9, 5), IDS.roll(-1, 1).flatten()
    model, whole = ArcticModel(config, seed=0), ArcticModel(config, seed=0)
    add_adapters(model, Lora(rank=4, tokens=tokens))
    rows = {name: parameter for name, parameter in adapters(model) if "trained_tokens" in name}
    assert len(rows) == (1 if tied_head else 2)
    with torch.no_grad():
        for name, parameter in rows.items():
            parameter.add_(0.1)
            whole.get_parameter(name.replace(".trained_tokens", ""))[list(tokens)] = parameter

    hidden, changes = model.hidden_states(IDS).hidden.flatten(0, 1), head_changes(model)
    if by_row:
        loss = row_nll(hidden, model.lm_head.weight, targets, changes).sum()
    else:
        loss, _ = head_nll(hidden, model.lm_head.weight, targets, changes)
    loss.backward()

    expected = F.cross_entropy(whole(IDS).flatten(0, 1), targets, reduction="sum")
    expected.backward()
    torch.testing.assert_close(loss, expected)
    for name, parameter in rows.items():
        reference = whole.get_parameter(name.replace(".trained_tokens", "")).grad
        assert reference is not None
        torch.testing.assert_close(parameter.grad, reference[list(tokens)], atol=1e-5, rtol=1e-4)


def test_several_adapters_live_beside_one_base(tmp_path: Path) -> None:
    first, second = LORAS[0], LORAS[5]
    for number, lora in enumerate((first, second)):
        _, tensors = adapted(lora, tmp_path / f"base-{number}", seed=number)
        write_adapter(tmp_path / f"adapter-{number}", lora, tensors, "ab")

        result, read = read_adapter(tmp_path / f"adapter-{number}", "ab")

        assert result == lora
        assert read.keys() == tensors.keys()
        assert all(torch.equal(read[name], tensors[name]) for name in tensors)


def test_an_adapter_of_other_weights_is_refused(tmp_path: Path) -> None:
    write_adapter(tmp_path / "adapter", LORAS[0], {}, "ab" * 32)

    with pytest.raises(CheckpointError, match="was trained on the weights abababababab, not on cdcd"):
        read_adapter(tmp_path / "adapter", "cd" * 32)
    (tmp_path / "adapter" / "adapter_config.json").write_text(json.dumps([])[:1])
    with pytest.raises(CheckpointError, match="holds no readable adapter"):
        read_adapter(tmp_path / "adapter", "ab" * 32)


def adapted(lora: Lora, base: Path, seed: int = 0) -> tuple[ArcticModel, dict[str, torch.Tensor]]:
    """A model with adapters that do something, and these; its weights are in the folder `base`."""
    model = ArcticModel(CONFIG, seed=0)
    model.save_pretrained(base)
    add_adapters(model, lora, seed)
    generator = torch.Generator().manual_seed(seed)
    for _, parameter in adapters(model):
        parameter.data.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return model, {name: tensor.clone() for name, tensor in adapter_tensors(model).items()}


def adapter_gradients(model: ArcticModel) -> dict[str, torch.Tensor]:
    """By the names of a checkpoint."""
    named = {name: parameter.grad for name, parameter in adapters(model) if parameter.grad is not None}
    experts = range(CONFIG.num_experts)
    return {each: part for name, gradient in named.items() for each, part in unstacked(name, gradient, experts)}
