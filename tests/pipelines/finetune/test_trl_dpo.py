"""The DPO loss of packed pairs and its gradient are those of TRL's DPOTrainer on the Hugging Face export."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from arctic_model.checkpoint.reading import Checkpoint
from arctic_model.export.formats import FORMATS
from arctic_model.model import ArcticModel
from arctic_model.presets import preset
from arctic_model.training.losses.objective import Batch, Scale, training_loss
from arctic_model.training.losses.preference import pair_log_probs
from arctic_model.training.optimization.settings import Dpo, Optimization, Tuning
from pipelines.artifacts.conversations import Conversation, Turn
from pipelines.artifacts.sequence_order.token_rows import read_rows
from pipelines.artifacts.tokenization.tokens import TokenSequences
from tests.kit.conversations import tokenized
from tests.kit.tokenizers import write_byte_tokenizer

# TRL trains every token after the prompt, so this template writes none after the mark that ends an answer.
TEMPLATE = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
PAIRS = [
    Conversation((Turn("user", "2 + 2?"), Turn("assistant", "4")), "It is five."),
    Conversation(
        (
            Turn("system", "Be terse."),
            Turn("user", "Why?"),
            Turn("assistant", "So."),
            Turn("user", "Sure?"),
            Turn("assistant", "Yes."),
        ),
        "As far as anybody knows, yes.",
    ),
    Conversation((Turn("user", "Name a river."), Turn("assistant", "The Elbe.")), "Elbe"),
]
LENGTH = 256


@pytest.mark.slow
# Of TRL's losses, "aot" alone smooths labels as the conservative DPO does; of one pair it is nothing else.
@pytest.mark.parametrize(("pairs", "loss_type", "label_smoothing"), [(PAIRS, "sigmoid", 0.0), (PAIRS[:1], "aot", 0.2)])
def test_loss_and_gradient_of_a_batch_are_those_of_trl(
    pairs: list[Conversation], loss_type: str, label_smoothing: float, tmp_path: Path
) -> None:
    trl, transformers = pytest.importorskip("trl"), pytest.importorskip("transformers")
    from datasets import Dataset

    write_byte_tokenizer(tmp_path, chat_template=TEMPLATE, add_bos_token=False)
    models = {
        name: ArcticModel(preset("tiny", {"init_std": 0.1, "max_positions": 256}), seed=seed)
        for name, seed in (("policy", 1), ("reference", 2))
    }
    theirs = {name: exported(model, tmp_path / name, tmp_path) for name, model in models.items()}
    settings = trl.DPOConfig(
        output_dir=str(tmp_path / "out"),
        beta=0.3,
        loss_type=loss_type,
        label_smoothing=label_smoothing,
        per_device_train_batch_size=len(pairs),
        report_to=[],
        use_cpu=True,
        bf16=False,
        max_length=None,
        gradient_checkpointing=False,
    )
    rows = [
        {
            "prompt": pair.messages[:-1],
            "chosen": pair.messages[-1:],
            "rejected": [{"role": "assistant", "content": pair.rejected}],
        }
        for pair in pairs
    ]
    trainer = trl.DPOTrainer(
        theirs["policy"],
        theirs["reference"],
        settings,
        train_dataset=Dataset.from_list(rows),
        processing_class=transformers.AutoTokenizer.from_pretrained(tmp_path),
    )
    (batch,) = trainer.get_train_dataloader()
    expected = trainer.compute_loss(trainer.model.eval(), batch)
    expected.backward()

    ours = packed(pairs, tmp_path)
    with torch.no_grad():
        reference = pair_log_probs(*hidden_and_head(models["reference"], ours), ours.targets, ours.segments, len(pairs))
    dpo = Optimization(balance_loss_coefficient=0.0, tuning=Tuning(dpo=Dpo(0.3, label_smoothing)))
    loads = torch.zeros(len(models["policy"].config.moe_layers), models["policy"].config.num_experts)
    loss, _ = training_loss(
        models["policy"], ours._replace(reference=reference), Scale(float(len(pairs)), 1.0, loads), dpo
    )
    loss.backward()

    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    for name in ("lm_head.weight", "model.embed_tokens.weight", "model.layers.0.self_attn.q_proj.weight"):
        gradients = (dict(model.named_parameters())[name].grad for model in (models["policy"], trainer.model))
        torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-6)


def hidden_and_head(model: ArcticModel, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    return model.hidden_states(batch.ids, batch.positions, batch.segments).hidden, model.lm_head.weight


def exported(model: ArcticModel, folder: Path, tokenizer: Path) -> Any:
    """The model in the format of transformers."""
    from arctic_model.export.remote_code.modeling_arctic import ArcticForCausalLM

    model.save_pretrained(folder / "checkpoint")
    (folder / "export").mkdir()
    FORMATS["huggingface"].write(Checkpoint(folder / "checkpoint"), tokenizer, folder / "export", "float32")
    # TRL adds the router's loss with this factor, which is no part of the objective.
    return ArcticForCausalLM.from_pretrained(folder / "export", dtype=torch.float32, router_aux_loss_coef=0.0)


def packed(pairs: list[Conversation], tokenizer: Path) -> Batch:
    """The pairs in one batch, as the stage `tokenize` packs them."""
    home = tokenizer / "pairs"
    home.mkdir()
    made = tokenized(home, tokenizer, pairs, pairs=True, sequence_length=LENGTH)
    sequences = TokenSequences(made.path, "train")
    rows = read_rows([sequences], np.zeros(len(sequences), int), np.arange(len(sequences)))
    return Batch(*map(torch.from_numpy, rows), torch.ones(1, len(sequences), dtype=torch.bool))
