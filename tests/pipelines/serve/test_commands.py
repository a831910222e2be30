"""`arctic generate` and `arctic chat` as processes, and the conversation behind the second."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from arctic_model import ArcticModel, Stream, StreamWindow
from arctic_model.checkpoint.reading import Checkpoint
from arctic_model.export.formats import FORMATS
from arctic_model.inference.sampling import GenerationError
from pipelines.models.loading import load_model
from pipelines.models.source import STORED, ModelSource
from pipelines.models.text_model import TextModel
from pipelines.models.writing import Conversation, WritingOptions, encode_text, new_engine
from tests.pipelines.serve.conftest import POSITIONS

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> TextModel:
    return load_model(ModelSource(checkpoint))


def arctic(*arguments: str, **options: Any) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "pipelines.cli", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def answer(model: TextModel, prompt: list[int], count: int) -> str:
    (completion,) = new_engine(model).run([WritingOptions(count).request(prompt, POSITIONS)])
    return completion.text.text()


def test_generate_prints_a_json_object_for_each_prompt(checkpoint: Path, model: TextModel) -> None:
    texts = ["Row 1", "SELECT"]
    arguments = [part for text in texts for part in ("--prompt", text)]
    output, _ = arctic("generate", str(checkpoint), *arguments, "--max-new-tokens", "9", "--json").communicate()
    rows = [json.loads(line) for line in output.splitlines()]
    expected = [answer(model, encode_text(model.codec, text), 9) for text in texts]
    assert [(row["prompt"], row["text"], row["new_tokens"]) for row in rows] == [
        (text, continuation, 9) for text, continuation in zip(texts, expected, strict=True)
    ]


def test_generate_keeps_weights_in_bfloat16_and_writes_what_float32_writes(checkpoint: Path, tmp_path: Path) -> None:
    export = tmp_path / "export"
    export.mkdir()
    FORMATS["huggingface"].write(Checkpoint(checkpoint), checkpoint, export, "bfloat16")
    arguments = ["--prompt", "Row 1", "--max-new-tokens", "20", "--json"]
    output, _ = arctic("generate", str(export), *arguments).communicate()
    wide, narrow = load_model(ModelSource(export)), load_model(ModelSource(export, dtype=STORED))
    assert narrow._model.lm_head.weight.dtype == torch.bfloat16
    assert json.loads(output)["text"] == answer(wide, encode_text(wide.codec, "Row 1"), 20)
    rounded, _ = arctic("generate", str(checkpoint), *arguments, "--dtype", "bfloat16").communicate()
    assert json.loads(rounded)["text"] == json.loads(output)["text"]


def test_generate_with_a_window_writes_beyond_the_models_positions(checkpoint: Path) -> None:
    arguments = ["--prompt", "Row 1", "--max-new-tokens", str(2 * POSITIONS), "--stream-window", "24", "--json"]
    output, _ = arctic("generate", str(checkpoint), *arguments).communicate()
    row = json.loads(output)
    assert row["finish"] == "end" or row["new_tokens"] == 2 * POSITIONS
    model = ArcticModel.from_pretrained(checkpoint)
    codec = load_model(ModelSource(checkpoint)).codec
    stream, ids = Stream(model, StreamWindow(24)), encode_text(codec, "Row 1")
    logits, expected = stream.read(ids)[-1], list[int]()
    while len(expected) < 2 * POSITIONS and int(logits.argmax()) not in codec.end_ids:
        expected.append(int(logits.argmax()))
        logits = stream.read(expected[-1:])[-1]
    assert (row["text"], row["new_tokens"]) == (codec.decode(expected), len(expected))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["CHECKPOINT", "--prompt", "Row", "--top-p", "0"], "top_p = 0"),
        (["CHECKPOINT", "--prompt", "Row " * POSITIONS], "no room for an answer"),
        (["CHECKPOINT", "--prompt", "Row", "--stream-window", str(POSITIONS)], "with sinks = 4: the model has"),
        (["no_such_folder", "--prompt", "Row"], "no such folder"),
        (["train[9]", "--prompt", "Row"], "store"),
    ],
)
def test_generate_says_what_is_wrong_and_how_to_mend_it(checkpoint: Path, arguments: list[str], words: str) -> None:
    named = [argument.replace("CHECKPOINT", str(checkpoint)) for argument in arguments]
    process = arctic("generate", *named, "--store", str(checkpoint.parent / "no_store"))
    _, errors = process.communicate()
    assert process.returncode == 2
    assert errors.startswith("error: ") and words in errors


def test_a_checkpoint_without_tokenizer_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    for file in checkpoint.iterdir():
        if not file.name.startswith("tokenizer"):
            (tmp_path / file.name).write_bytes(file.read_bytes())
    process = arctic("generate", str(tmp_path), "--prompt", "Row")
    assert "tokenizer.json" in process.communicate()[1]
    assert process.returncode == 2


def test_ctrl_c_stops_an_answer_and_the_chat_goes_on(checkpoint: Path) -> None:
    process = arctic("chat", str(checkpoint), "--temperature", "0")
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write("Which row?\n")
    process.stdin.flush()
    first = process.stdout.read(1)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate("/new\nAnd now?\n/quit\n", timeout=300)
    assert process.returncode == 0, errors
    assert first and "[stopped]" in output
    assert len(output.split("[stopped]", 1)[1].strip()) > 0


def test_a_conversation_keeps_its_turns_and_an_answer_that_was_stopped(model: TextModel) -> None:
    conversation = Conversation(model, WritingOptions(12))
    first = "".join(conversation.answer("Which row?"))
    prompt = model.codec.encode(model.codec.chat([{"role": "user", "content": "Which row?"}]), marks=True)
    assert first == answer(model, prompt, 12)
    pieces = list(conversation.answer("Again", lambda: True))
    assert [turn["role"] for turn in conversation.messages] == ["user", "assistant"] * 2
    assert conversation.messages[-1]["content"] == "".join(pieces)
    assert len("".join(pieces)) < len(first)
    again = "".join(conversation.answer("And now?"))
    turns = conversation.messages[:-1]
    assert again == answer(model, model.codec.encode(model.codec.chat(turns), marks=True), 12)


def test_turns_that_leave_no_room_are_taken_back(model: TextModel) -> None:
    conversation = Conversation(model, WritingOptions(3))
    with pytest.raises(GenerationError, match="no room for an answer"):
        list(conversation.answer("Row " * POSITIONS))
    assert conversation.messages == []
    assert "".join(conversation.answer("Row")) == conversation.messages[-1]["content"]
