"""An endless sequence: one pass a token and one masked pass agree, distances stay in the cache, a stream survives."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from arctic_model.inference.cache.slots import SlotView
from arctic_model.inference.completion import Request
from arctic_model.inference.engine import Engine
from arctic_model.inference.sampling import GenerationError
from arctic_model.inference.streaming import Stream, StreamDecoder, StreamSlots, StreamWindow
from arctic_model.layers.attention.stream_cache import StreamCache, stream_table
from arctic_model.model import ArcticModel
from arctic_model.presets import preset

WINDOW = StreamWindow(window=24, sinks=4)


def random_ids(count: int, seed: int = 0) -> Tensor:
    return torch.randint(0, 384, (count,), generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def model() -> ArcticModel:
    """Weights large enough that a wrong key shows."""
    return ArcticModel(preset("tiny", {"num_layers": 3, "init_std": 0.2}), seed=0).eval()


def with_sinks(model: ArcticModel) -> ArcticModel:
    """Draws its learned sinks, if it has them."""
    for layer in model.model.layers if model.config.learned_sinks else ():
        torch.nn.init.normal_(layer.self_attn.sinks, generator=torch.Generator().manual_seed(3))
    return model


def states(model: ArcticModel, view: SlotView, ids: Tensor, block: int) -> Tensor:
    """Hidden states of a stream that is read in passes of `block` tokens, by the layers that training uses."""
    nothing = torch.empty(0, dtype=model.lm_head.weight.dtype)
    with torch.no_grad():
        parts = [
            model.hidden_states(part[None], caches=view.layers, mask=nothing).hidden[0] for part in ids.split(block)
        ]
    return torch.cat(parts)


@pytest.mark.parametrize("window", [WINDOW, StreamWindow(8, 1), StreamWindow(16, 0), StreamWindow(1, 4)])
@pytest.mark.parametrize(
    "overrides",
    [{}, {"yarn_factor": 4.0, "yarn_original_positions": 32}, {"learned_sinks": True}],
    ids=["plain", "yarn", "learned sinks"],
)
def test_one_pass_a_token_and_one_masked_pass_are_the_same(window: StreamWindow, overrides: dict) -> None:
    config = preset("tiny", {"num_layers": 3, "init_std": 0.2, "num_experts": 0, **overrides})
    model = with_sinks(ArcticModel(config, seed=0).double().eval())
    ids = random_ids(96)
    # Dense, as torch's grouped products take no float64.
    slots = StreamDecoder(model, window).new_cache(4, 0)
    rolling, dense, blocks, mixed = (states(model, slots.row(n, 0), ids, size) for n, size in enumerate((1, 96, 7, 31)))
    for other in (dense, blocks, mixed):
        torch.testing.assert_close(rolling, other, atol=1e-12, rtol=0)


@pytest.mark.parametrize("learned", [None, torch.tensor([[-1.0], [0.0], [0.5], [2.0]], dtype=torch.float64)])
def test_the_window_is_what_a_masked_attention_sees(learned: Tensor | None) -> None:
    """One layer against the definition: scores of the first tokens at the distance from the end of the cache, of the
    window at the true distance, the learned sink of the head if there is one, and no other."""
    generator = torch.Generator().manual_seed(1)
    q, k, v = (torch.randn(1, 60, heads, 8, dtype=torch.float64, generator=generator) for heads in (4, 2, 2))
    rope, size, sinks, window = preset("tiny").rope, 12, 3, 9
    room = torch.zeros(2, 1, 2, size, 8, dtype=torch.float64)
    table = stream_table(rope, size, torch.float64, torch.device("cpu"))
    cache = StreamCache(*room, sinks=sinks, rope=rope, table=table)
    result = cache.attend(q, k, v, sink_logits=learned)

    def turned(head: Tensor, position: int) -> Tensor:
        angles = position * rope.theta ** (-torch.arange(4, dtype=torch.float64) / 4)
        pairs = torch.complex(head[:4], head[4:]) * torch.polar(torch.ones_like(angles), angles)
        return torch.cat([pairs.real, pairs.imag])

    for i in range(60):
        seen = [j for j in range(i + 1) if j < sinks or j > i - window]
        for head in range(4):
            scores = [
                turned(q[0, i, head], min(i, size - 1) if j < sinks else i) @ turned(k[0, j, head // 2], j)
                for j in seen
            ]
            of_sink = torch.empty(0) if learned is None else learned[head]
            weights = torch.cat([torch.stack(scores) / 8**0.5, of_sink]).softmax(-1)[: len(seen)]
            torch.testing.assert_close(result[0, i, head], weights @ v[0, seen, head // 2], atol=1e-12, rtol=0)


def test_a_stream_that_fits_is_plain_attention(model: ArcticModel) -> None:
    ids = random_ids(WINDOW.size)
    torch.testing.assert_close(Stream(model, WINDOW).read(ids), model(ids[None])[0], atol=1e-4, rtol=1e-4)


def at(model: ArcticModel, slots: StreamSlots, slot: int, length: int, ids: Tensor, block: int) -> Tensor:
    return states(model, slots.row(slot, length), ids, block)


@pytest.mark.parametrize("block", [1, 5])
def test_the_same_memory_at_position_2_to_the_40_gives_the_same_bits(model: ArcticModel, block: int) -> None:
    """The window has 32 tokens, so the ring is at the same position after 2^10 and 2^40 tokens."""
    window = StreamWindow(32, 4)
    slots = StreamDecoder(model, window).new_cache(2, 0)
    for tensor in slots.tensors():
        tensor[0] = tensor[1] = torch.randn(tensor.shape[1:], generator=torch.Generator().manual_seed(2))
    near, far = (at(model, slots, slot, length, random_ids(20), block) for slot, length in ((0, 2**10), (1, 2**40)))
    assert torch.equal(near, far)


def test_a_stream_that_is_saved_and_restored_goes_on_with_the_same_bits(model: ArcticModel, tmp_path: Path) -> None:
    ids = random_ids(300)
    unbroken = Stream(model, WINDOW)
    unbroken.read(ids[:141])
    unbroken.save(tmp_path / "stream.safetensors")
    expected = [unbroken.read(ids[141:200]), *(unbroken.read(ids[n : n + 1]) for n in range(200, 300))]
    restored = Stream.restored(model, tmp_path / "stream.safetensors")
    result = [restored.read(ids[141:200]), *(restored.read(ids[n : n + 1]) for n in range(200, 300))]
    assert torch.equal(torch.cat(result), torch.cat(expected))
    assert restored.num_read == 300


KILLED = """
import os, signal, sys
from pathlib import Path
import torch
from arctic_model import ArcticModel, Stream, StreamWindow, preset
from arctic_model.inference import streaming

def dying(tensors, file, metadata):
    Path(file).write_bytes(b"half of it")
    os.kill(os.getpid(), signal.SIGKILL)

torch.set_num_threads(1)
file, ids = Path(sys.argv[1]), torch.load(sys.argv[2], weights_only=True)
stream = Stream(ArcticModel(preset("tiny"), seed=0).eval(), StreamWindow(window=60))
stream.read(ids[:141])
stream.save(file)
stream.read(ids[141:200])
streaming.save_file = dying
stream.save(file)
"""


def test_a_stream_whose_process_is_killed_while_it_saves_goes_on_from_the_last_file(tmp_path: Path) -> None:
    ids, file = random_ids(300), tmp_path / "stream.safetensors"
    torch.save(ids, tmp_path / "ids.pt")
    killed = subprocess.run([sys.executable, "-c", KILLED, file, tmp_path / "ids.pt"])
    assert killed.returncode == -signal.SIGKILL
    model = ArcticModel(preset("tiny"), seed=0).eval()
    unbroken, restored = Stream(model, StreamWindow(window=60)), Stream.restored(model, file)
    assert restored.num_read == 141
    unbroken.read(ids[:141])
    assert torch.equal(restored.read(ids[141:]), unbroken.read(ids[141:]))


def test_a_file_that_is_no_stream_of_the_model_is_refused(model: ArcticModel, tmp_path: Path) -> None:
    other = Stream(ArcticModel(preset("tiny"), seed=0), WINDOW)
    other.save(tmp_path / "stream.safetensors")
    with pytest.raises(GenerationError, match="the stream of another model"):
        Stream.restored(model, tmp_path / "stream.safetensors")
    model.save_pretrained(tmp_path / "model")
    [weights] = list((tmp_path / "model").glob("*.safetensors"))[:1]
    with pytest.raises(GenerationError, match="holds no stream"):
        Stream.restored(model, weights)


@pytest.mark.parametrize(
    ("window", "sinks", "message"),
    [(0, 4, "window = 0: must be 1"), (8, -1, "sinks = -1: must be 0"), (126, 4, "the model has 128 positions. Lower")],
)
def test_a_window_that_cannot_work_is_refused(model: ArcticModel, window: int, sinks: int, message: str) -> None:
    with pytest.raises(GenerationError, match=message):
        Stream(model, StreamWindow(window, sinks))


def test_the_engine_writes_without_end_in_constant_memory(model: ArcticModel) -> None:
    """More than the model's 128 positions; each token as the stream gives it."""
    engine = Engine(StreamDecoder(model, WINDOW))
    (completion,) = engine.run([Request(random_ids(100).tolist(), 150)])
    stream = Stream(model, WINDOW)
    logits = stream.read(random_ids(100))[-1:]
    expected = []
    for _ in range(150):
        expected.append(int(logits[-1].argmax()))
        logits = stream.read(expected[-1:])
    assert completion.ids == expected
    sizes = {tensor.numel() for tensor in StreamDecoder(model, WINDOW).new_cache(1, 10**9).tensors()}
    assert sizes == {2 * WINDOW.size * 8}


@pytest.mark.parametrize("max_batch", [2, 4])
def test_streams_side_by_side_are_what_each_is_alone(model: ArcticModel, max_batch: int) -> None:
    """Some fit into the window, some leave it while they grow, and each ends at another step."""
    prompts = [random_ids(count, count).tolist() for count in (3, 20, 28, 90, 150, 300)]
    requests = [Request(prompt, 60 - 7 * number) for number, prompt in enumerate(prompts)]
    together = Engine(StreamDecoder(model, WINDOW), max_batch=max_batch).run(requests)
    for request, completion in zip(requests, together, strict=True):
        (alone,) = Engine(StreamDecoder(model, WINDOW)).run([request])
        assert completion.ids == alone.ids


@pytest.mark.parametrize("window", [WINDOW, StreamWindow(16, 0), StreamWindow(1, 4)])
@pytest.mark.parametrize("learned", [False, True])
def test_rows_of_several_streams_have_the_states_of_each_alone(window: StreamWindow, learned: bool) -> None:
    config = preset("tiny", {"num_layers": 3, "init_std": 0.2, "num_experts": 0, "learned_sinks": learned})
    model = with_sinks(ArcticModel(config, seed=0).double().eval())
    slots = StreamDecoder(model, window).new_cache(6, 0)
    lengths = [0, 5, 90]
    for row, length in enumerate(lengths):
        for slot in (row, row + 3):
            if length:
                at(model, slots, slot, 0, random_ids(length, row), length)
    for step in range(36):
        ids = random_ids(3, step)
        nothing = torch.empty(0, dtype=torch.float64)
        with torch.no_grad():
            view = slots.rows([length + step for length in lengths])
            together = model.hidden_states(ids[:, None], caches=view.layers, mask=nothing).hidden[:, 0]
        for row, length in enumerate(lengths):
            alone = at(model, slots, row + 3, length + step, ids[row : row + 1], 1)
            torch.testing.assert_close(together[row : row + 1], alone, atol=1e-12, rtol=0)


def test_streams_side_by_side_at_position_2_to_the_40_have_the_bits_of_2_to_the_10(model: ArcticModel) -> None:
    slots = StreamDecoder(model, StreamWindow(32, 4)).new_cache(4, 0)
    result = []
    for lengths in ([2**10, 5], [2**40, 5]):
        for tensor in slots.tensors():
            tensor[:2] = torch.randn(2, *tensor.shape[1:], generator=torch.Generator().manual_seed(2))
        nothing = torch.empty(0)
        with torch.no_grad():
            view = slots.rows(lengths)
            result.append(model.hidden_states(random_ids(2)[:, None], caches=view.layers, mask=nothing).hidden)
    assert torch.equal(*result)


def test_a_long_prompt_of_a_stream_holds_up_no_other(model: ArcticModel) -> None:
    """It is read a block a step, while the answer before it grows."""
    engine = Engine(StreamDecoder(model, WINDOW), max_batch=2)
    short, long = engine.add(Request([1, 2, 3], 20)), engine.add(Request(random_ids(1280).tolist(), 1))
    while long.finish is None:
        engine.step()
    assert len(short.ids) >= 9
