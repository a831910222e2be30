"""Generated text against decoding without a cache, and against itself in other company."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from arctic_model.inference.cache.prefix_cache import BLOCK
from arctic_model.inference.completion import Request
from arctic_model.inference.language_model import SlotCache
from arctic_model.model import ArcticModel
from pipelines.evaluate.engine.decoding import TextGenerator
from pipelines.evaluate.engine.requests import Generation
from pipelines.models.codec import ArcticCodec
from pipelines.models.source import ModelSource
from pipelines.models.text_model import TextModel

LONG = "Row 1: naïve café. SELECT x FROM t; " * 20
REQUESTS = [
    *(Generation(LONG[: 50 * n], ("zz",), 4 + n % 3) for n in range(1, 9)),
    *(Generation("Row 7:", (), 6, temperature=1.0, sample=n) for n in range(4)),
]


def continued(weights: ArcticModel, ids: list[int], count: int) -> list[int]:
    """Greedy ids, each by a full pass over everything before it."""
    new: list[int] = []
    for _ in range(count):
        tensor = torch.tensor([ids + new])
        with torch.inference_mode():
            logits = weights(tensor, torch.arange(tensor.shape[1])[None], torch.zeros_like(tensor))
        new.append(int(logits[0, -1].argmax()))
    return new


@pytest.mark.parametrize("batched", [False, True])
def test_greedy_text_is_that_of_full_passes(weights: ArcticModel, model: TextModel, batched: bool) -> None:
    requests = [request for request in REQUESTS if not request.temperature]
    assert len(model.codec.encode(requests[-1].prompt)) > BLOCK
    for request, result in zip(requests, TextGenerator(model, batched=batched).write(requests), strict=True):
        ids = continued(weights, model.codec.encode(request.prompt), request.max_new_tokens)
        assert result == (model.codec.decode(ids), "length", 0, request.max_new_tokens)


def test_no_answer_depends_on_company_or_order(model: TextModel) -> None:
    expected = TextGenerator(model).write(REQUESTS)
    assert TextGenerator(model).write(REQUESTS[::-1])[::-1] == expected
    assert [TextGenerator(model).write([request])[0] for request in REQUESTS] == expected


def test_draws_of_one_prompt_differ_and_follow_from_the_request(model: TextModel) -> None:
    draws = TextGenerator(model).write(REQUESTS[-4:])
    assert len({draw.text for draw in draws}) == 4
    assert TextGenerator(model, batched=True).write(REQUESTS) == TextGenerator(model).write(REQUESTS)


@pytest.mark.parametrize(("num_ids", "slots"), [(100, 64), (4096, 64), (5000, 32), (16_384, 16), (32_768, 8)])
def test_side_by_side_the_cache_has_room_for_the_longest_answer_and_no_more(
    num_ids: int, slots: int, model: TextModel
) -> None:
    """Of a model that reads 32,768 ids, as the shipped recipe of the long phase trains."""
    shapes: list[tuple[int, int]] = []

    class Long:
        codec, max_positions, sees_masks, device = model.codec, 32_768, True, model.device
        streams = keeps_parts_apart = False
        vocab_size, logits = model.vocab_size, staticmethod(model.logits)

        def new_cache(self, num_slots: int, capacity: int) -> SlotCache:
            shapes.append((num_slots, capacity))
            return model.new_cache(1, 1)

    request = Generation("Row 7:", (), num_ids - len(model.codec.encode("Row 7:")))
    generator = TextGenerator(Long(), batched=True)
    generator._engine_for(1)
    engine = generator._engine_for(len(model.codec.encode("Row 7:")) + request.max_new_tokens)
    engine.require_answerable(Request(model.codec.encode(request.prompt), request.max_new_tokens))
    [_, (num_slots, capacity)] = shapes
    assert num_slots == slots
    assert num_ids <= capacity < 2 * num_ids
    assert TextGenerator(Long())._engine_for(num_ids).capacity == 32_768
    assert shapes[-1] == (1, 32_768)


def test_text_ends_before_the_first_stop_wherever_ids_divide_it(model: TextModel) -> None:
    (whole,) = TextGenerator(model).write([Generation("Row 3:", (), 12)])
    for start in range(1, len(whole.text) - 2):
        stop = whole.text[start : start + 3]
        (cut,) = TextGenerator(model).write([Generation("Row 3:", ("never", stop), 12)])
        assert cut[:3] == (whole.text[: whole.text.index(stop)], "stop", 0)
        assert cut.num_tokens <= whole.num_tokens == 12


def test_end_token_ends_the_answer(model: TextModel, weights: ArcticModel) -> None:
    count = len(model.codec.encode("SELECT;", begin=False))

    class Ending:
        """Generates `script`, then the end token."""

        codec, max_positions, sees_masks, device = model.codec, model.max_positions, True, model.device
        streams = keeps_parts_apart = False
        vocab_size = model.vocab_size
        new_cache = staticmethod(model.new_cache)
        script = iter(model.codec.encode("SELECT;", begin=False))

        def logits(self, ids: torch.Tensor, *rest: object) -> torch.Tensor:
            logits = torch.zeros_like(model.logits(ids, *rest))
            logits[:, next(self.script, model.codec.prefix_id)] = 1.0
            return logits

    assert TextGenerator(Ending()).write([Generation("Row 3:", (), 12)]) == [("SELECT;", "end", 0, count + 1)]


def test_prompt_too_long_loses_its_beginning_and_is_counted(model: TextModel, weights: ArcticModel) -> None:
    prompt = LONG * 3
    ids = model.codec.encode(prompt)
    room = model.max_positions - 5
    (result,) = TextGenerator(model).write([Generation(prompt, (), 5)])
    assert result == (model.codec.decode(continued(weights, ids[-room:], 5)), "length", len(ids) - room, 5)
    # Half of the positions is room enough, and an answer ends when there are no more positions.
    (result,) = TextGenerator(model).write([Generation(prompt, (), 10**6)])
    assert result.num_truncated == len(ids) - model.max_positions // 2
    assert (result.finish, result.num_tokens) == ("length", model.max_positions - model.max_positions // 2)


def test_empty_prompt_begins_a_document_and_empty_stop_is_refused(weights: ArcticModel, model: TextModel) -> None:
    (result,) = TextGenerator(model).write([Generation("", (), 3)])
    assert result.text == model.codec.decode(continued(weights, [model.codec.prefix_id], 3))
    with pytest.raises(ValueError, match="a stop is empty"):
        TextGenerator(model).write([Generation("Row", ("x", ""), 3)])


def test_chat_marks_are_read_in_what_a_template_wrote_and_nowhere_else(our_model: ModelSource, tmp_path: Path) -> None:
    for file in our_model.tokenizer_folder.glob("tokenizer*.json"):
        shutil.copy(file, tmp_path)
    codec = ArcticCodec(tmp_path)
    prompt = codec.chat([{"role": "user", "content": "hi"}])
    assert prompt == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    (end,) = codec.end_ids - {codec.prefix_id}
    assert codec.encode(prompt, marks=True).count(end) == 1
    assert end not in codec.encode(prompt)
    assert codec.encode("hi")[0] == codec.prefix_id != codec.encode("hi", begin=False)[0]
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    del config["chat_template"]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config | {"add_bos_token": False}))
    plain = ArcticCodec(tmp_path)
    assert plain.encode("hi") == codec.encode("hi", begin=False)
    with pytest.raises(ValueError, match="no chat template"):
        plain.chat([])
