"""One step of LoRA on one CPU core: `arctic_model.training.lora` against PEFT on the same weights.

A model of the quickstart's shape with random weights, float32, adapters of rank 16 on attention and the dense MLP, and
then on the experts as well, of 8 and of 64; the same rows, forward and backward. PEFT trains the Hugging Face export.
For a scale, a pass over the frozen model without adapters, whose backward reaches the embeddings' output.
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from harness import arguments, interleave, machine, one_core, report, times_as_fast
from torch import Tensor, nn

from arctic_model.checkpoint.reading import Checkpoint
from arctic_model.export.formats import FORMATS
from arctic_model.model import ArcticModel
from arctic_model.presets import preset
from arctic_model.training.lora import Lora, adapter_tensors, add_adapters, write_adapter
from arctic_model.training.losses.cross_entropy import head_nll
from pipelines.tokenize.pack_texts import train_tokenizer


@dataclass(frozen=True)
class Case:
    """Adapters on a model of the quickstart's shape with a number of experts."""

    name: str
    lora: Lora
    num_experts: int
    goal: str


OURS, FROZEN, PEFT = "ours", "the frozen model", "peft"
EVERYWHERE = Lora(rank=16, alpha=32.0, targets=("attention", "dense", "experts"))
MORE_THAN_PEFT = "2 x peft's tokens/s or more"
CASES = (
    Case("lora", Lora(rank=16, alpha=32.0), 8, "peft's tokens/s or more, 1.3 x the frozen model or less"),
    Case("lora of 8 experts", EVERYWHERE, 8, MORE_THAN_PEFT),
    Case("lora of 64 experts", EVERYWHERE, 64, MORE_THAN_PEFT),
)
ROWS, LENGTH = 4, 256


def main() -> None:
    options = arguments(__doc__.splitlines()[0])
    one_core()
    torch.set_num_threads(1)
    print(machine("torch", "peft", "transformers"))
    for case in CASES:
        measure(case, 3 if options.quick else 9)


def measure(case: Case, repeats: int) -> None:
    """Time all contenders, and report."""
    ids = torch.randint(4, 1000, (ROWS, LENGTH + 1), generator=torch.Generator().manual_seed(0))
    with tempfile.TemporaryDirectory() as folder:
        work, share = contenders(Path(folder), ids, case)
        timings = interleave(work, repeats)
    for name, timing in timings.items():
        print(f"{name:20}{timing.median:8.3f} s a pass, spread {timing.spread:.0%}")
    overhead = 1 / times_as_fast(timings[OURS], timings[FROZEN])
    print(f"adapters are {share:.2%} of the parameters; a pass takes {overhead:.2f} x that of the frozen model")
    rates = {name: ROWS * LENGTH / timing.median for name, timing in timings.items()}
    ours = rates.pop(OURS)
    ratio = times_as_fast(timings[OURS], timings[PEFT])
    report(case.name, ours, rates, "tokens per CPU second", ratio, case.goal)


def contenders(folder: Path, ids: Tensor, case: Case) -> tuple[dict[str, Callable[[], object]], float]:
    """The timed models, and the share of adapters among the parameters."""
    frozen = ArcticModel(preset("quickstart", {"num_experts": case.num_experts}), seed=0)
    frozen.save_pretrained(folder / "base")
    frozen.requires_grad_(False)
    model = ArcticModel.from_pretrained(folder / "base")
    add_adapters(model, case.lora)
    tensors = adapter_tensors(model)
    write_adapter(folder / "adapter", case.lora, tensors, "")
    share = sum(tensor.numel() for tensor in tensors.values()) / sum(each.numel() for each in frozen.parameters())
    theirs = peft_model(folder)

    def learn(each: ArcticModel) -> None:
        hidden = each.hidden_states(ids[:, :-1]).hidden
        nll, _ = head_nll(hidden.flatten(0, 1), each.lm_head.weight, ids[:, 1:].flatten())
        (nll / nll.numel()).backward()
        each.zero_grad()

    def learn_frozen() -> None:
        # Something to learn at the bottom: backward passes every layer.
        frozen.model.embed_tokens.weight.requires_grad_(True)
        learn(frozen)

    def learn_with_peft() -> None:
        logits = theirs(ids[:, :-1]).logits
        F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten()).backward()
        theirs.zero_grad()

    return {OURS: lambda: learn(model), FROZEN: learn_frozen, PEFT: learn_with_peft}, share


def peft_model(folder: Path) -> nn.Module:
    """PEFT's model with the adapters in `folder`, on the export of the base."""
    from peft import PeftModel

    from arctic_model.export.remote_code.modeling_arctic import ArcticForCausalLM

    train_tokenizer(["SELECT name FROM pets;"] * 9, 280, folder / "tokenizer")
    (folder / "export").mkdir()
    FORMATS["huggingface"].write(Checkpoint(folder / "base"), folder / "tokenizer", folder / "export", "float32")
    export = ArcticForCausalLM.from_pretrained(folder / "export", dtype=torch.float32)
    return PeftModel.from_pretrained(export, folder / "adapter", is_trainable=True)


if __name__ == "__main__":
    main()
