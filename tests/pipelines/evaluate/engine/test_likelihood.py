"""Log-likelihoods against full passes of the model, and to the bit against themselves in other company."""

import math
from collections.abc import Sequence

import pytest
import torch

from arctic_model.inference.cache.prefix_cache import BLOCK
from arctic_model.model import ArcticModel
from pipelines.evaluate.engine.encoding import windows
from pipelines.evaluate.engine.likelihood import MAX_ROWS, LikelihoodScorer
from pipelines.evaluate.engine.requests import Likelihood, LogLikelihood
from pipelines.models.text_model import TextModel

SHOTS = "Row 1: naïve café. SELECT x FROM t; " * 20
QUESTIONS = [
    *([LogLikelihood(f"{SHOTS[: 90 * n]}Q{n}? ", ending) for ending in ("yes", "no, café", " x")] for n in range(9)),
    [LogLikelihood("", "SELECT x1"), LogLikelihood("", "naïve")],
    [LogLikelihood(f"{SHOTS}The {name} was", " too big.") for name in ("cup", "box")],
    [LogLikelihood("  \n", "SELECT"), LogLikelihood("a", "bc" * 9)],
]


def full_pass(weights: ArcticModel, ids: list[int]) -> torch.Tensor:
    """Logits [T, V] without mask, cache or company."""
    tensor = torch.tensor([ids])
    with torch.inference_mode():
        return weights(tensor, torch.arange(len(ids))[None], torch.zeros_like(tensor)).double()[0]


def alone(weights: ArcticModel, context: list[int], continuation: list[int]) -> tuple[float, bool]:
    """Log-probability, summed in float64, and whether it is greedy."""
    scored = full_pass(weights, (context + continuation)[:-1])[-len(continuation) :]
    expected = torch.tensor(continuation)
    probability = scored.log_softmax(-1)[range(len(expected)), expected].sum().item()
    return probability, bool((scored.argmax(-1) == expected).all())


def encoded(model: TextModel, request: LogLikelihood) -> tuple[list[int], list[int]]:
    """Written down once more, for these tests' requests only: blanks go to the continuation."""
    encode = model.codec.encode
    context = request.context.rstrip()
    whole = request.context + request.continuation
    if not context:
        return [model.codec.prefix_id], encode(whole, begin=False)
    return encode(context), encode(whole)[len(encode(context)) :]


@pytest.mark.parametrize("batched", [False, True])
def test_each_equals_a_full_pass_of_its_own(weights: ArcticModel, model: TextModel, batched: bool) -> None:
    answers = LikelihoodScorer(model, batched=batched).score(QUESTIONS)
    for question, result in zip(QUESTIONS, answers, strict=True):
        for request, answer in zip(question, result, strict=True):
            probability, is_greedy = alone(weights, *encoded(model, request))
            assert answer.log_probability == pytest.approx(probability, rel=1e-5, abs=1e-5), request
            assert (answer.is_greedy, answer.num_truncated) == (is_greedy, 0)


def test_what_the_model_would_say_is_greedy(weights: ArcticModel, model: TextModel) -> None:
    for number in range(20):
        prompt = f"Row {number}:"
        context = model.codec.encode(prompt)
        best = int(full_pass(weights, context)[-1].argmax())
        said = model.codec.decode([best])
        # Not every id is the encoding of its own text.
        if model.codec.encode(prompt + said) == [*context, best]:
            break
    (answers,) = LikelihoodScorer(model).score([[LogLikelihood(prompt, said), LogLikelihood(prompt, "#")]])
    assert [answer.is_greedy for answer in answers] == [True, False]


def test_no_bit_depends_on_company_or_order(model: TextModel) -> None:
    expected = LikelihoodScorer(model).score(QUESTIONS)
    for number, question in enumerate(QUESTIONS):
        assert LikelihoodScorer(model).score([question]) == [expected[number]]
    backwards = LikelihoodScorer(model).score(QUESTIONS[::-1])
    assert backwards[::-1] == expected
    scorer = LikelihoodScorer(model)
    assert [scorer.score([question])[0] for question in QUESTIONS[3:] + QUESTIONS[:3]] == expected[3:] + expected[:3]


def test_what_requests_share_is_read_once(model: TextModel) -> None:
    length = len(model.codec.encode(SHOTS.rstrip()))
    assert length > 2 * BLOCK
    endings = (" yes", " no", " maybe", " never")
    ids = sum(len(model.codec.encode(ending)) for ending in endings)
    scorer = LikelihoodScorer(model)
    scorer.score([[LogLikelihood(SHOTS.rstrip(), ending) for ending in endings]])
    assert scorer.num_read <= length + ids
    # The worked examples of the question before are still there.
    before = scorer.num_read
    scorer.score([[LogLikelihood(f"{SHOTS}Why?", ending) for ending in endings]])
    assert scorer.num_read - before <= length - 2 * BLOCK + 10 + ids


def test_long_context_is_read_once_for_many_choices(weights: ArcticModel, model: TextModel) -> None:
    context, endings = SHOTS.rstrip(), [f" {number}" for number in range(16)]
    length = len(model.codec.encode(context))
    assert length * len(endings) > MAX_ROWS
    scorer = LikelihoodScorer(model)
    (answers,) = scorer.score([[LogLikelihood(context, ending) for ending in endings]])
    assert scorer.num_read <= length + sum(len(model.codec.encode(ending)) for ending in endings)
    for ending, answer in zip(endings, answers, strict=True):
        expected, _ = alone(weights, *encoded(model, LogLikelihood(context, ending)))
        assert answer.log_probability == pytest.approx(expected, rel=1e-5)


def test_context_too_long_loses_its_beginning_and_is_counted(weights: ArcticModel, model: TextModel) -> None:
    context, continuation = SHOTS * 2, "SELECT x FROM t; " * 3
    before, after = model.codec.encode(context.rstrip()), encoded(model, LogLikelihood(context, continuation))[1]
    room = model.max_positions + 1 - len(after)
    ((answer,),) = LikelihoodScorer(model).score([[LogLikelihood(context, continuation)]])
    assert answer.num_truncated == len(before) - room > 0
    assert answer.log_probability == pytest.approx(alone(weights, before[-room:], after)[0], rel=1e-5)


def test_continuation_longer_than_the_positions_is_scored_window_by_window(
    weights: ArcticModel, model: TextModel
) -> None:
    text = SHOTS * 3
    ids = model.codec.encode(text, begin=False)
    size = model.max_positions
    assert len(ids) > size
    expected = alone(weights, [model.codec.prefix_id], ids[:size])[0]
    expected += alone(weights, ids[len(ids) - size - 1 : size], ids[size:])[0]
    ((answer,),) = LikelihoodScorer(model).score([[LogLikelihood("", text)]])
    assert answer.log_probability == pytest.approx(expected, rel=1e-5)
    assert not answer.num_truncated


def test_windows_predict_every_id_once_after_as_much_as_fits() -> None:
    result, lost = windows([9], list(range(7)), 3)
    assert [window.ids for window in result] == [[9, 0, 1, 2], [2, 3, 4, 5], [3, 4, 5, 6]]
    assert [window.num_scored for window in result] == [3, 3, 1]
    assert lost == 0
    assert windows([5, 6, 7], [1], 3) == ([([5, 6, 7, 1], 1)], 0)
    assert windows([4, 5, 6, 7], [1], 3) == ([([5, 6, 7, 1], 1)], 1)


@pytest.mark.parametrize("batched", [False, True])
def test_continuation_without_ids_has_no_likelihood_and_costs_no_other(model: TextModel, batched: bool) -> None:
    whole, empty = LogLikelihood("Row 1:", " x"), LogLikelihood("Row 1:", "")
    ((expected,),) = LikelihoodScorer(model).score([[whole]])
    result = LikelihoodScorer(model, batched=batched).score([[empty], [empty, whole], [whole]])
    assert [answer.encoded for question in result for answer in question] == ["not", "not", "together", "together"]
    assert result[0] == [Likelihood(-math.inf, False, 0, "not", 0)]
    assert [result[1][1].log_probability, result[2][0].log_probability] == [
        pytest.approx(expected.log_probability, rel=1e-5)
    ] * 2


def test_model_whose_weights_diverged_gives_no_number(model: TextModel) -> None:
    class Diverged:
        codec, vocab_size, max_positions = model.codec, model.vocab_size, model.max_positions
        sees_masks, streams, keeps_parts_apart, device = True, False, False, model.device
        new_cache = staticmethod(model.new_cache)

        def logits(self, *arguments: object) -> torch.Tensor:
            return model.logits(*arguments) * torch.nan

    with pytest.raises(ValueError, match="weights have diverged"):
        LikelihoodScorer(Diverged()).score([[LogLikelihood("Row", " 1")]])


def close(first: Sequence[Likelihood], second: Sequence[Likelihood]) -> bool:
    return [pytest.approx(one.log_probability, rel=1e-5) for one in first] == [two.log_probability for two in second]


def test_question_with_more_ids_than_a_pass_is_read_in_several(
    model: TextModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = LikelihoodScorer(model).score(QUESTIONS)
    monkeypatch.setattr("pipelines.evaluate.engine.likelihood.MAX_ROWS", 64)
    for one, two in zip(whole, LikelihoodScorer(model).score(QUESTIONS), strict=True):
        assert close(one, two)
