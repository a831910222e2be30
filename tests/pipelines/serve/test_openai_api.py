"""The API as its clients see it: OpenAI's own package, and lm-evaluation-harness."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from pipelines.models.loading import load_model
from pipelines.models.source import ModelSource
from pipelines.models.text_model import TextModel
from pipelines.models.writing import WritingOptions, encode_text, new_engine
from tests.kit.optional import needs
from tests.pipelines.serve.conftest import NAME, POSITIONS, Served

pytestmark = needs("openai")
MESSAGES = [{"role": "user", "content": "Which row?"}]


@pytest.fixture(scope="module")
def client(served: Served) -> Iterator[Any]:
    import openai

    with openai.OpenAI(base_url=served.url, api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> TextModel:
    return load_model(ModelSource(checkpoint))


def written(model: TextModel, prompt: list[int], count: int, *stops: str) -> str:
    """By the engine alone, greedily."""
    (completion,) = new_engine(model).run([WritingOptions(count, stops=stops).request(prompt, POSITIONS)])
    return completion.text.text()


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_model_is_listed(client: Any) -> None:
    assert [model.id for model in client.models.list()] == [NAME]


def test_a_completion_is_the_engine_s_text_with_its_usage(client: Any, model: TextModel) -> None:
    reply = client.completions.create(model=NAME, prompt="Row 1", max_tokens=12, temperature=0)
    prompt = encode_text(model.codec, "Row 1")
    assert reply.choices[0].text == written(model, prompt, 12)
    assert reply.choices[0].finish_reason == "length"
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (len(prompt), 12)


def test_several_prompts_are_texts_or_ids(client: Any, model: TextModel) -> None:
    texts = ["Row 1", "SELECT"]
    ids = [encode_text(model.codec, text) for text in texts]
    expected = [written(model, prompt, 6) for prompt in ids]
    for prompts in (texts, ids):
        reply = client.completions.create(model=NAME, prompt=prompts, max_tokens=6, temperature=0)
        assert [choice.text for choice in reply.choices] == expected
    reply = client.completions.create(model=NAME, prompt=ids[0], max_tokens=6, temperature=0)
    assert reply.choices[0].text == expected[0]


def test_a_stream_is_the_answer_in_pieces(client: Any) -> None:
    body = {"model": NAME, "messages": MESSAGES, "max_tokens": 30, "temperature": 0}
    whole = client.chat.completions.create(**body)
    events = list(client.chat.completions.create(**body, stream=True, stream_options={"include_usage": True}))
    pieces = [event.choices[0].delta.content or "" for event in events if event.choices]
    assert "".join(pieces) == whole.choices[0].message.content
    assert len([piece for piece in pieces if piece]) > 3
    assert events[-2].choices[0].finish_reason == whole.choices[0].finish_reason
    assert events[-1].usage.total_tokens == whole.usage.total_tokens
    assert len({event.id for event in events}) == 1


def test_a_completion_streams_too(client: Any) -> None:
    body = {"model": NAME, "prompt": "Row 1", "max_tokens": 20, "temperature": 0}
    pieces = [event.choices[0].text for event in client.completions.create(**body, stream=True)]
    assert "".join(pieces) == client.completions.create(**body).choices[0].text


def test_a_chat_answers_behind_the_template(client: Any, model: TextModel) -> None:
    reply = client.chat.completions.create(model=NAME, messages=MESSAGES, max_tokens=9, temperature=0)
    prompt = model.codec.encode(model.codec.chat(MESSAGES), marks=True)
    assert reply.choices[0].message.content == written(model, prompt, 9)


def test_a_stop_ends_the_answer_before_it(client: Any, model: TextModel) -> None:
    whole = written(model, encode_text(model.codec, "Row 1"), 30)
    stop = whole[5:7]
    reply = client.completions.create(model=NAME, prompt="Row 1", max_tokens=30, temperature=0, stop=[stop])
    assert (reply.choices[0].text, reply.choices[0].finish_reason) == (whole[: whole.index(stop)], "stop")


def test_equal_seeds_give_equal_answers_and_no_seed_gives_others(client: Any) -> None:
    def ask(**options: Any) -> str:
        body = {"model": NAME, "prompt": "Row", "max_tokens": 24, "temperature": 1.0, "top_p": 0.98, **options}
        return str(client.completions.create(**body).choices[0].text)

    assert ask(seed=7) == ask(seed=7) != ask(seed=8)
    assert len({ask() for _ in range(4)}) > 1


def test_log_probabilities_are_those_of_the_model(client: Any, model: TextModel) -> None:
    import torch

    reply = client.chat.completions.create(
        model=NAME, messages=MESSAGES, max_tokens=4, temperature=0, logprobs=True, top_logprobs=2
    )
    content = reply.choices[0].logprobs.content
    assert len(content) == 4
    assert all(entry.logprob == entry.top_logprobs[0].logprob for entry in content)
    prompt = torch.tensor([model.codec.encode(model.codec.chat(MESSAGES), marks=True)])
    length = prompt.shape[1]
    mask = torch.full((length, length), -torch.inf).triu(1)[None, None]
    with torch.inference_mode():
        row = model.logits(prompt, torch.arange(length)[None], mask, torch.tensor([length - 1]))[0].log_softmax(-1)
    assert content[0].logprob == pytest.approx(float(row.max()), abs=1e-4)


@pytest.mark.parametrize(
    ("fields", "status", "words"),
    [
        ({"model": "gpt-5"}, 404, "Ask for 'tiny'"),
        ({"prompt": "Row " * POSITIONS}, 400, "no room for an answer"),
        ({"max_tokens": POSITIONS}, 400, "exceed the 1024 positions"),
        ({"temperature": -1}, 400, "temperature"),
        ({"top_p": 0}, 400, "top_p"),
        ({"best_of": 3}, 400, "best_of"),
        ({"n": 2}, 400, "n: "),
        ({"stop": [""]}, 400, "a stop is empty"),
        ({"prompt": []}, 400, "prompt"),
        ({"prompt": [10**6]}, 400, "1000000"),
        ({"stream": True, "logprobs": 1}, 400, "in one piece only"),
    ],
    ids=str,
)
def test_a_wrong_request_gets_an_error_in_openai_s_form(
    served: Served, fields: dict[str, Any], status: int, words: str
) -> None:
    reply = requests.post(f"{served.url}/completions", json={"model": NAME, "prompt": "Row", **fields}, timeout=60)
    assert reply.status_code == status, reply.text
    error = reply.json()["error"]
    assert words in error["message"]
    assert set(error) == {"message", "type", "param", "code"}


def test_a_body_that_is_no_json_and_a_path_that_is_none(served: Served) -> None:
    assert requests.post(f"{served.url}/completions", data="{", timeout=60).json()["error"]["type"]
    assert requests.get(f"{served.base}/nothing", timeout=60).json()["error"]["message"]


def test_more_requests_than_the_queue_has_room_for_get_429(served: Served, client: Any) -> None:
    import openai

    body = {"model": NAME, "prompt": "Row", "max_tokens": 900, "temperature": 0}
    streams = [client.completions.create(**body, stream=True) for _ in range(4)]
    with pytest.raises(openai.RateLimitError, match="4 are the limit") as raised:
        client.completions.create(**body)
    assert raised.value.response.headers["Retry-After"] == "1"
    for stream in streams:
        stream.close()
    wait_until(lambda: served.service.engine.num_requests == 0)
    assert client.completions.create(**(body | {"max_tokens": 1})).choices


def test_a_client_that_leaves_frees_its_slot(served: Served, client: Any) -> None:
    stream = client.completions.create(model=NAME, prompt="Row", max_tokens=1000, temperature=0, stream=True)
    next(iter(stream))
    assert served.service.engine.num_running == 1
    stream.close()
    wait_until(lambda: served.service.engine.num_running == 0)
    assert served.service.engine.num_requests == 0


def test_answers_are_the_same_side_by_side(client: Any) -> None:
    prompts = [f"Row {number}: SELECT" for number in range(4)]

    def ask(prompt: str) -> str:
        return str(client.completions.create(model=NAME, prompt=prompt, max_tokens=40, temperature=0).choices[0].text)

    alone = {prompt: ask(prompt) for prompt in prompts}
    together: dict[str, str] = {}
    threads = [threading.Thread(target=lambda p=prompt: together.update({p: ask(p)})) for prompt in prompts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == alone


def test_requests_without_the_token_are_refused(guarded: Served) -> None:
    import openai

    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "secret"}):
        for path in ("/v1/models", "/metrics", "/anything"):
            reply = requests.get(guarded.base + path, headers=headers, timeout=60)
            assert (reply.status_code, reply.json()["error"]["code"]) == (401, "invalid_api_key")
    assert requests.get(f"{guarded.base}/health", timeout=60).status_code == 200
    with openai.OpenAI(base_url=guarded.url, api_key="secret") as client:
        assert client.models.list().data


def test_metrics_count_requests_and_tokens(served: Served, client: Any) -> None:
    def values() -> dict[str, float]:
        lines = requests.get(f"{served.base}/metrics", timeout=60).text.splitlines()
        pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        return {name: float(value) for name, value in pairs}

    before = values()
    client.completions.create(model=NAME, prompt="Row", max_tokens=5, temperature=0)
    after = values()
    ok = 'arctic_requests_total{replica="replica-1",status="200"}'
    tokens = 'arctic_answer_tokens_total{replica="replica-1"}'
    # A counter is shown from its first request on.
    assert after[ok] - before.get(ok, 0) == 1
    assert after[tokens] - before.get(tokens, 0) == 5
    assert after['arctic_running_requests{replica="replica-1"}'] == 0


def test_a_shared_beginning_is_read_once(client: Any) -> None:
    prompt = list(range(20, 300))
    usages = [client.completions.create(model=NAME, prompt=prompt, max_tokens=2).usage for _ in range(2)]
    assert usages[1].prompt_tokens_details.cached_tokens == 256


def test_texts_without_end_are_written_side_by_side(checkpoint: Path) -> None:
    """Each as by an engine that writes it alone; the first is longer than the positions of the model."""
    from arctic_model import StreamWindow
    from pipelines.serve.options import ServeOptions

    texts, counts = ["Row 1", "SELECT x", "naive cafe. " * 30], [POSITIONS + 8, 40, 40]
    model = load_model(ModelSource(checkpoint), StreamWindow(24))
    expected = []
    for text, count in zip(texts, counts, strict=True):
        request = WritingOptions(count).request(encode_text(model.codec, text), 10 * POSITIONS)
        expected.append(new_engine(model).run([request])[0].text.text())
    served = Served(ServeOptions(str(checkpoint), NAME, max_batch=3, stream_window=24))
    result: dict[int, str] = {}

    def ask(number: int) -> None:
        body = {"model": NAME, "prompt": texts[number], "max_tokens": counts[number], "temperature": 0}
        reply = requests.post(f"{served.url}/completions", json=body, timeout=120).json()
        result[number] = reply["choices"][0]["text"]

    try:
        clients = [threading.Thread(target=ask, args=[number]) for number in range(3)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
    finally:
        served.close()
    assert [result[number] for number in range(3)] == expected


def test_a_checkpoint_that_is_replaced_changes_nothing_until_a_restart(tmp_path: Path) -> None:
    import shutil

    from pipelines.serve.options import ServeOptions
    from tests.pipelines.serve.conftest import write_checkpoint

    body = {"model": NAME, "prompt": "Row", "max_tokens": 20, "temperature": 0}

    def ask(served: Served) -> str:
        return str(requests.post(f"{served.url}/completions", json=body, timeout=60).json()["choices"][0]["text"])

    write_checkpoint(tmp_path / "model")
    served = Served(ServeOptions(str(tmp_path / "model"), NAME))
    try:
        before = ask(served)
        shutil.rmtree(tmp_path / "model")
        write_checkpoint(tmp_path / "model", seed=1)
        assert ask(served) == before
    finally:
        served.close()


def test_a_request_that_diverges_fails_alone(checkpoint: Path, tmp_path: Path, model: TextModel) -> None:
    """The embedding of one id is not finite."""
    import shutil

    import torch

    from arctic_model import ArcticModel
    from pipelines.serve.options import ServeOptions

    poisoned, sound, bad = ArcticModel.from_pretrained(checkpoint), [[20, 21], [25] * 140, [30]], [[20, 310], [310]]
    with torch.no_grad():
        poisoned.model.embed_tokens.weight[310] = torch.nan
    poisoned.save_pretrained(tmp_path / "poisoned")
    for file in checkpoint.iterdir():
        if not (tmp_path / "poisoned" / file.name).exists():
            shutil.copy(file, tmp_path / "poisoned")
    served = Served(ServeOptions(str(tmp_path / "poisoned"), NAME, max_batch=5))

    def ask(prompt: list[int]) -> Any:
        body = {"model": NAME, "prompt": prompt, "max_tokens": 60, "temperature": 0}
        return requests.post(f"{served.url}/completions", json=body, timeout=60)

    try:
        for _ in range(2):
            with ThreadPoolExecutor(5) as clients:
                replies = list(clients.map(ask, [*sound, *bad]))
            texts = [reply.json()["choices"][0]["text"] for reply in replies[:3]]
            assert texts == [written(model, prompt, 60) for prompt in sound]
            assert all("not finite" in reply.json()["error"]["message"] for reply in replies[3:])
    finally:
        served.close()


@pytest.mark.slow
def test_the_harness_s_own_client_gets_the_numbers_of_our_engine(served: Served, checkpoint: Path) -> None:
    """lm-eval's local-completions against a pass of the model over the same ids, which begin with no end token."""
    completions = pytest.importorskip("lm_eval.models.openai_completions")
    import torch
    from lm_eval.api.instance import Instance

    from arctic_model import ArcticModel

    pairs = [("Row 1: SELECT", " x"), ("Row 1: SELECT", " FROM t"), ("naive", " cafe")]
    client = completions.LocalCompletionsAPI(
        base_url=f"{served.url}/completions",
        model=NAME,
        tokenizer=str(checkpoint),
        tokenizer_backend="huggingface",
        max_length=POSITIONS,
    )
    result = client.loglikelihood([Instance("loglikelihood", {}, pair, 0) for pair in pairs], disable_tqdm=True)
    codec, weights = load_model(ModelSource(checkpoint)).codec, ArcticModel.from_pretrained(checkpoint)
    for (probability, is_greedy), (context, continuation) in zip(result, pairs, strict=True):
        ids = codec.encode(context + continuation, begin=False)
        start = len(codec.encode(context, begin=False))
        with torch.inference_mode():
            rows = weights(torch.tensor([ids]))[0, start - 1 : -1].log_softmax(-1)
        targets = torch.tensor(ids[start:])
        assert probability == pytest.approx(float(rows.gather(1, targets[:, None]).sum()), abs=1e-3)
        assert is_greedy == bool((rows.argmax(-1) == targets).all())
    options = {"until": ["zz"], "max_gen_toks": 8, "temperature": 0}
    (text,) = client.generate_until([Instance("generate_until", {}, ("Row 1", options), 0)], disable_tqdm=True)
    body = {"model": NAME, "prompt": codec.encode("Row 1", begin=False), "max_tokens": 8, "temperature": 0}
    reply = requests.post(f"{served.url}/completions", json=body, timeout=60)
    assert text == reply.json()["choices"][0]["text"]
