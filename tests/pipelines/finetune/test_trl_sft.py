"""The masked loss of a batch of conversations is that of TRL's SFTTrainer."""

from pathlib import Path

import numpy as np
import pytest
import torch

from arctic_model.training.losses.cross_entropy import head_nll
from pipelines.artifacts.conversations import Conversation, Turn
from pipelines.artifacts.tokenization.tokenizer import CHAT_TEMPLATE
from pipelines.tokenize.chat.encode import ChatTokenizer
from tests.kit.tokenizers import write_byte_tokenizer
from tests.pipelines.tokenize.chat.templates import WITH_MARKERS

CHATS = [
    Conversation((Turn("user", "2 + 2?"), Turn("assistant", "4"))),
    Conversation(
        (
            Turn("system", "Be terse."),
            Turn("user", "Why?"),
            Turn("assistant", "So."),
            Turn("user", "Sure?"),
            Turn("assistant", "Yes, as far as is known."),
        )
    ),
    Conversation((Turn("user", "Name a river."), Turn("assistant", "The Elbe."))),
]


@pytest.mark.slow
def test_the_loss_of_a_batch_is_that_of_trl(tmp_path: Path) -> None:
    trl, transformers = pytest.importorskip("trl"), pytest.importorskip("transformers")
    from datasets import Dataset

    write_byte_tokenizer(tmp_path, chat_template=WITH_MARKERS)
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(vocab_size=264, num_key_value_heads=2, **sizes))
    settings = trl.SFTConfig(
        output_dir=str(tmp_path / "out"),
        assistant_only_loss=True,
        per_device_train_batch_size=len(CHATS),
        report_to=[],
        use_cpu=True,
        bf16=False,
        max_length=None,
    )
    trainer = trl.SFTTrainer(
        model,
        settings,
        train_dataset=Dataset.from_list([{"messages": chat.messages} for chat in CHATS]),
        processing_class=transformers.AutoTokenizer.from_pretrained(tmp_path),
    )
    (batch,) = trainer.get_train_dataloader()
    expected = trainer.compute_loss(trainer.model.eval(), batch).item()

    write_byte_tokenizer(tmp_path, chat_template=CHAT_TEMPLATE, add_bos_token=False)
    tokenizer = ChatTokenizer(tmp_path)
    nll = count = 0.0
    for chat in CHATS:
        ids, trained = tokenizer.encode(chat)
        inputs, targets = torch.tensor(ids.astype(np.int64)), torch.tensor(np.where(trained, ids.astype(np.int64), -1))
        with torch.no_grad():
            hidden = model.model(inputs[None, :-1]).last_hidden_state[0]
            nll += float(head_nll(hidden, model.lm_head.weight, targets[1:])[0])
        count += int((targets[1:] >= 0).sum())

    assert nll / count == pytest.approx(expected, rel=1e-6)
