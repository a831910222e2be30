"""The engine against full passes: alone, in batches, in any order of arrival, with any earlier content of the slots."""

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from arctic_model.inference.arctic_decoder import ArcticDecoder
from arctic_model.inference.cache.prefix_cache import BLOCK
from arctic_model.inference.completion import Completion, Request
from arctic_model.inference.engine import Engine
from arctic_model.inference.sampling import GenerationError, Sampling
from arctic_model.model import ArcticModel
from arctic_model.presets import preset

CAPACITY = 512


@pytest.fixture(scope="module", params=[torch.float32, torch.bfloat16], ids=str)
def model(request: pytest.FixtureRequest) -> ArcticModel:
    config = preset("tiny", {"init_std": 0.3, "max_positions": CAPACITY})
    return ArcticModel(config, seed=0).to(request.param).eval()


@pytest.fixture(scope="module")
def dense(model: ArcticModel) -> ArcticModel:
    """The layers' own code in float32, with the values of the model that decodes."""
    return deepcopy(model).float()


@pytest.fixture(scope="module")
def requests() -> list[Request]:
    """Short and long prompts, some with the beginning of another, some sampled."""
    ids = torch.randint(0, 384, (3, 400), generator=torch.Generator().manual_seed(1)).tolist()
    prompts = [ids[0][:5], ids[0][:300], ids[0][:260] + ids[1][:9], ids[1][:129], ids[1][:128], ids[2][:40], ids[1][:1]]
    greedy = [Request(prompt, 3 + 5 * number) for number, prompt in enumerate(prompts)]
    return greedy + [Request(ids[2][:140], 12, Sampling(0.9, top_p=0.95, seed=str(seed))) for seed in range(2)]


@pytest.fixture(scope="module")
def expected(dense: ArcticModel, requests: list[Request]) -> list[list[int]]:
    """Each alone, by a pass over everything so far for every id; draws by the sampling's own rule."""
    from arctic_model.inference.sampling import choose

    answers = []
    for request in requests:
        ids = list(request.prompt)
        for number in range(request.max_new_tokens):
            with torch.inference_mode():
                logits = dense(torch.tensor([ids]))[0, -1]
            ids.append(choose(logits, request.sampling, number))
        answers.append(ids[len(request.prompt) :])
    return answers


@pytest.mark.parametrize("max_batch", [1, 2, 4, 9])
def test_answers_are_those_of_full_passes(
    model: ArcticModel, requests: list[Request], expected: list[list[int]], max_batch: int
) -> None:
    engine = Engine(ArcticDecoder(model), max_batch=max_batch)
    assert [completion.ids for completion in engine.run(requests)] == expected
    # Again, with slots full of data from the first round.
    assert [completion.ids for completion in engine.run(requests[::-1])][::-1] == expected


@settings(max_examples=12, deadline=None)
@given(st.data())
def test_no_answer_depends_on_when_a_request_arrives_and_what_else_runs(
    model: ArcticModel, requests: list[Request], expected: list[list[int]], data: st.DataObject
) -> None:
    """Requests arrive in any order, any number of steps apart; some are cancelled on the way."""
    engine = Engine(ArcticDecoder(model), max_batch=data.draw(st.integers(1, 5)))
    order = data.draw(st.permutations(range(len(requests))))
    running: dict[int, Completion] = {}
    for number in order:
        running[number] = engine.add(requests[number])
        for _ in range(data.draw(st.integers(0, 6))):
            engine.step()
        if data.draw(st.integers(0, 5)) == 0:
            engine.cancel(running[data.draw(st.sampled_from(sorted(running)))])
    while engine.step():
        pass
    assert engine.num_running == engine.num_waiting == 0
    for number, completion in running.items():
        if completion.finish == "cancelled":
            assert completion.ids == expected[number][: len(completion.ids)]
        else:
            assert (completion.ids, completion.finish) == (expected[number], "length")


def test_alone_an_answer_is_the_same_to_the_bit_whatever_was_read_before(model: ArcticModel) -> None:
    ids = torch.randint(0, 384, (2, 300), generator=torch.Generator().manual_seed(2)).tolist()
    request = Request(ids[0], 8, num_logprobs=2)
    (fresh,) = Engine(ArcticDecoder(model)).run([request])
    engine = Engine(ArcticDecoder(model))
    others = [Request(ids[0][:200] + ids[1][:50], 3), Request(ids[1], 3), Request(ids[0][:290], 3)]
    *_, used = engine.run([*others, request])
    assert used.num_shared == 2 * BLOCK and fresh.num_shared == 0
    assert used.logprobs == fresh.logprobs


def test_a_beginning_is_shared_with_an_answer_that_still_grows(model: ArcticModel) -> None:
    ids = torch.randint(0, 384, (300,), generator=torch.Generator().manual_seed(3)).tolist()
    engine = Engine(ArcticDecoder(model), max_batch=3)
    first = engine.add(Request(ids, 60))
    while not first.ids:
        engine.step()
    second = engine.add(Request(ids[:280], 4))
    engine.step()
    assert first.finish is None
    assert second.num_shared == 2 * BLOCK
    while engine.step():
        pass
    assert [first.ids, second.ids] == [
        Engine(ArcticDecoder(model)).run([Request(ids, 60)])[0].ids,
        Engine(ArcticDecoder(model)).run([Request(ids[:280], 4)])[0].ids,
    ]


def test_a_long_prompt_holds_up_others_by_a_block_at_a_time(model: ArcticModel) -> None:
    engine = Engine(ArcticDecoder(model), max_batch=2)
    short = engine.add(Request([1, 2, 3], 50))
    engine.step()
    long = engine.add(Request([7] * (3 * BLOCK + 1), 2))
    grown = []
    while not long.ids:
        engine.step()
        grown.append(len(short.ids))
    assert grown == list(range(grown[0], grown[0] + 4))


def test_a_pass_reads_more_prompts_where_no_answer_waits(model: ArcticModel) -> None:
    sizes: list[int] = []

    class Watched(ArcticDecoder):
        def logits(self, ids: Tensor, *others: Any) -> Tensor:
            sizes.append(ids.numel())
            return super().logits(ids, *others)

    requests = [Request([number] * (BLOCK + 1), 1) for number in range(1, 11)]
    Engine(Watched(model), max_batch=10).run(requests)
    # Each prompt has one more id than a block.
    assert sizes == [8 * BLOCK, 8 + 2 * BLOCK, 2]
    sizes.clear()
    engine = Engine(Watched(model), max_batch=10)
    for request in requests:
        engine.add(request)
    engine.step()
    assert sizes == [2 * BLOCK]


def test_a_cancelled_request_frees_its_slot_wherever_it_is(model: ArcticModel) -> None:
    engine = Engine(ArcticDecoder(model), max_batch=2)
    growing, reading, waiting = (engine.add(Request([5] * length, 20)) for length in (3, 3 * BLOCK, 4))
    for _ in range(3):
        engine.step()
    assert (engine.num_running, engine.num_waiting) == (2, 1)
    for completion in (waiting, reading, growing):
        engine.cancel(completion)
    assert (engine.num_running, engine.num_waiting) == (0, 0)
    assert not engine.step()


def test_log_probabilities_are_those_of_a_full_pass(model: ArcticModel, dense: ArcticModel) -> None:
    prompt = torch.randint(0, 384, (200,), generator=torch.Generator().manual_seed(4)).tolist()
    (completion,) = Engine(ArcticDecoder(model)).run([Request(prompt, 5, num_logprobs=3, scores_prompt=True)])
    with torch.inference_mode():
        logprobs = dense(torch.tensor([prompt + completion.ids]))[0].log_softmax(-1)
    targets = [*prompt[1:], *completion.ids]
    result = completion.prompt_logprobs + completion.logprobs
    assert [each.token for each in result] == targets
    for row, each in zip(logprobs[:-1], result, strict=True):
        assert each.logprob == pytest.approx(float(row[each.token]), abs=1e-4)
        assert list(each.top) == row.topk(3).indices.tolist()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_threads_share_the_weights_and_the_heads_of_a_wide_model(dtype: torch.dtype) -> None:
    wide = {"hidden_size": 256, "expert_size": 256, "init_std": 0.1, "max_positions": CAPACITY}
    model = ArcticModel(preset("tiny", wide), seed=0).to(dtype).eval()
    ids = torch.randint(0, 384, (3, 300), generator=torch.Generator().manual_seed(5)).tolist()
    requests = [Request(prompt, 4, num_logprobs=1) for prompt in ids]
    before, answers = torch.get_num_threads(), []
    try:
        for num_threads, max_batch in ((1, 1), (2, 1), (2, 3)):
            torch.set_num_threads(num_threads)
            answers.append(Engine(ArcticDecoder(model), max_batch=max_batch).run(requests))
            assert torch.get_num_threads() == num_threads
    finally:
        torch.set_num_threads(before)
    alone, shared, together = answers
    assert [each.logprobs for each in alone] == [each.logprobs for each in shared]
    for prompt, one, other in zip(ids, alone, together, strict=True):
        assert one.ids == other.ids
        with torch.inference_mode():
            logprobs = deepcopy(model).float()(torch.tensor([prompt + one.ids]))[0, 299:-1].log_softmax(-1)
        for row, each in zip(logprobs, other.logprobs, strict=True):
            assert each.logprob == pytest.approx(float(row[each.token]), abs=1e-4)


def test_an_end_id_ends_the_answer_and_is_not_part_of_it(model: ArcticModel, expected: list[list[int]]) -> None:
    end = expected[1][4]
    (completion,) = Engine(ArcticDecoder(model), end_ids=frozenset({end})).run([_long(model)])
    assert (completion.ids, completion.finish) == (expected[1][: expected[1].index(end)], "end")


def test_a_stop_ends_the_answer_before_it(model: ArcticModel, expected: list[list[int]]) -> None:
    def decode(ids: Sequence[int]) -> str:
        return "".join(f"<{number}>" for number in ids)

    stop = f"<{expected[1][3]}><{expected[1][4]}>"
    (completion,) = Engine(ArcticDecoder(model), decode=decode).run([_long(model, stop)])
    assert (completion.text.text(), completion.finish) == (decode(expected[1][:3]), "stop")


def _long(model: ArcticModel, *stops: str) -> Request:
    ids = torch.randint(0, 384, (3, 400), generator=torch.Generator().manual_seed(1)).tolist()
    return Request(ids[0][:300], 8, stops=stops)


def test_impossible_requests_are_refused(model: ArcticModel) -> None:
    engine = Engine(ArcticDecoder(model))
    with pytest.raises(GenerationError, match="holds no token"):
        engine.add(Request([], 3))
    with pytest.raises(GenerationError, match="max_new_tokens = -1"):
        engine.add(Request([1], -1))
    with pytest.raises(GenerationError, match="a stop is empty"):
        engine.add(Request([1], 1, stops=("a", "")))
    with pytest.raises(GenerationError, match="500 tokens and max_new_tokens = 13 exceed the 512 positions"):
        engine.add(Request([1] * 500, 13))
    with pytest.raises(GenerationError, match="capacity = 513: the model has 512"):
        Engine(ArcticDecoder(model), capacity=513)


def test_an_answer_may_fill_all_positions(model: ArcticModel) -> None:
    (completion,) = Engine(ArcticDecoder(model)).run([Request([3] * 500, 12)])
    assert len(completion.ids) == 12
    assert Engine(ArcticDecoder(model)).run([Request([3] * CAPACITY, 0)])[0].ids == []
