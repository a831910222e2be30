"""Graphs of passes, without a GPU: a tape repeats the operations of a pass on the same tensors, as a CUDA graph does,
and tensors without values show that the host waits for none."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from arctic_model.inference.arctic_decoder import ArcticDecoder
from arctic_model.inference.cache.graph_slots import GraphSlots, Pass, graph_positions
from arctic_model.inference.cache.slots import Slots
from arctic_model.inference.completion import Completion, Request
from arctic_model.inference.engine import Engine
from arctic_model.inference.sampling import Sampling
from arctic_model.model import ArcticModel
from arctic_model.moe.dispatch import ExpertGroup
from arctic_model.presets import preset
from tests.arctic_model.inference.test_cpu_pass import SHAPES as SHORT_SHAPES

CAPACITY = 700
SHAPES = SHORT_SHAPES | {"long context": {"yarn_factor": 4.0, "yarn_original_positions": 175}}


def config(**values: Any) -> Any:
    return preset("tiny", {"init_std": 0.3, "max_positions": CAPACITY, "expert_size": 64, **values})


class Tape(TorchDispatchMode):
    """Records operations with their tensors. `replay` writes their new results into the tensors that it gave."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        self.operations.append((func, args, kwargs or {}, output))
        return output

    def replay(self) -> None:
        for func, args, kwargs, output in self.operations:
            for old, new in zip(tree_iter(output), tree_iter(func(*args, **kwargs)), strict=True):
                if isinstance(old, Tensor) and old.untyped_storage().data_ptr() != new.untyped_storage().data_ptr():
                    old.copy_(new)


class Taped(ArcticDecoder):
    """A decoder whose passes over answers are repeated from tapes. `num_captured` counts these."""

    num_captured = 0

    def new_cache(self, num_slots: int, capacity: int) -> Slots:
        def capture(run: Pass) -> Pass:
            self.num_captured += 1
            with Tape() as tape:
                logits = run()

            def replay() -> Tensor:
                tape.replay()
                return logits

            return replay

        return GraphSlots(self._layers(num_slots, graph_positions(capacity)), self._by_layers, capture)


def requests(num: int, longest: int, seed: int = 1) -> list[Request]:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, longest, (num,), generator=generator).tolist()
    prompts = [torch.randint(0, 384, (length,), generator=generator).tolist() for length in lengths]
    sampled = Sampling(0.9, top_p=0.95)
    return [Request(prompt, 6 + 7 * (n % 4), sampled if n % 3 == 2 else Sampling()) for n, prompt in enumerate(prompts)]


def answers(completions: list[Completion]) -> list[list[int]]:
    return [completion.ids for completion in completions]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_repeated_pass_gives_the_answers_of_one_that_is_computed(shape: str) -> None:
    """Sequences of unequal length, which end one after the other, in batches of sizes between powers of two."""
    model = ArcticModel(config(**SHAPES[shape]), seed=0).eval()
    asked = requests(11, 300)
    taped = Taped(model)
    assert answers(Engine(taped, max_batch=6).run(asked)) == answers(
        Engine(ArcticDecoder(model), max_batch=6).run(asked)
    )
    # At 1, 2, 4 and 6 rows, each with up to 256 and with more keys.
    assert 4 <= taped.num_captured <= 8


@settings(max_examples=4, deadline=None)
@given(st.data())
def test_rows_that_fill_up_a_batch_change_no_prompt_that_is_read_beside_it(data: st.DataObject) -> None:
    """Requests arrive at any time, so that prompts in later slots are half read while earlier ones grow."""
    model = ArcticModel(config(), seed=0).eval()
    asked = requests(7, 400, data.draw(st.integers(0, 9)))
    expected = answers(Engine(ArcticDecoder(model)).run(asked))
    engine = Engine(Taped(model), max_batch=data.draw(st.integers(1, 5)))
    completions = []
    for request in asked:
        completions.append(engine.add(request))
        for _ in range(data.draw(st.integers(0, 5))):
            engine.step()
    while engine.step():
        pass
    assert answers(completions) == expected


@pytest.mark.parametrize("max_batch", [1, 2])
def test_a_sequence_may_take_all_positions(max_batch: int) -> None:
    model = ArcticModel(config(max_positions=264), seed=0).eval()
    asked = [Request([5] * 240, 24), Request([7, 8], 262)][:max_batch]
    plain = Engine(ArcticDecoder(model), max_batch=max_batch)
    assert answers(Engine(Taped(model), max_batch=max_batch).run(asked)) == answers(plain.run(asked))


def test_alone_an_answer_is_the_same_to_the_bit_whatever_was_read_before() -> None:
    model = ArcticModel(config(), seed=0).eval()
    request = Request([3, 1, 4, 1, 5], 20, num_logprobs=2)
    (fresh,) = Engine(Taped(model)).run([request])
    *_, used = Engine(Taped(model)).run([*requests(5, 300), request])
    assert used.logprobs == fresh.logprobs


class OnOneDevice(TorchDispatchMode):
    """Fails at an operation that joins the GPU with tensors of the host, which a graph cannot repeat."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        tensors = [each for each in tree_iter((args, kwargs, output)) if isinstance(each, Tensor)]
        devices = {each.device.type for each in tensors if each.device.type != "cpu" or each.dim()}
        assert len(devices) <= 1, f"{func} joins {devices}"
        return output


def decoder_on_meta(group: ExpertGroup | None = None, **values: Any) -> ArcticDecoder:
    """In bfloat16, of tensors without values: reading one on the host raises an error."""
    with torch.device("meta"):
        return ArcticDecoder(ArcticModel(config(**values), group).bfloat16().eval())


@pytest.mark.parametrize("shape", SHAPES)
@torch.inference_mode()
def test_the_host_never_waits_for_the_gpu_within_a_pass(shape: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("arctic_model.inference.cache.graph_slots.graph_capture", lambda: lambda run: run)
    slots = decoder_on_meta(**SHAPES[shape]).new_cache(4, 100)
    assert isinstance(slots, GraphSlots)
    ids = torch.zeros(3, 1, dtype=torch.long, device="meta")
    assert slots.rows([5, 90, 17]).logits(ids).shape == (3, 384)
    (fixed,) = slots._passes.values()
    with OnOneDevice():
        fixed._compute()


@torch.inference_mode()
def test_models_that_make_the_host_wait_have_no_graphs() -> None:
    """The host lays out the rows of experts that workers share, and of those of a width that grouped_mm refuses."""
    decoder = decoder_on_meta(expert_size=36)
    slots = decoder.new_cache(4, 100)
    assert not isinstance(slots, GraphSlots)
    ids, mask = (torch.zeros(*shape, device="meta") for shape in ((3, 1), (3, 1, 1, 91)))
    with pytest.raises(NotImplementedError, match="meta"):
        decoder.logits(ids.long(), ids.long(), mask, ids[:, 0].long(), slots.rows([5, 90, 17]))
    shared = decoder_on_meta(ExpertGroup(2, 0, same_tokens=True))
    assert not isinstance(shared.new_cache(4, 100), GraphSlots)
