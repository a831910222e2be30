"""Load a checkpoint in the dtype you choose, and look at the model's predictions.

python examples/load_a_checkpoint.py CHECKPOINT      a folder with checkpoint.json, from a train stage's result
python examples/load_a_checkpoint.py                 saves a small untrained model first, and loads that
"""

import sys
import tempfile
from pathlib import Path

import torch

from arctic_model import ArcticModel, preset
from arctic_model.sizing import count_parameters


def show(folder: Path) -> ArcticModel:
    """Load the checkpoint in bfloat16, and print its size and the likeliest next tokens after ids 1, 2, 3."""
    model = ArcticModel.from_pretrained(folder, dtype=torch.bfloat16)
    count = count_parameters(model.config)
    print(f"{folder.name}: {count.total:,} parameters, {count.active:,} of them active for each token")
    ids = torch.tensor([[1, 2, 3]])
    with torch.no_grad():
        probabilities = model(ids)[0, -1].float().softmax(-1)
    for probability, token in zip(*probabilities.topk(3), strict=True):
        print(f"token {int(token)} with probability {float(probability):.4f}")
    return model


def main(arguments: list[str]) -> None:
    """Show the checkpoint named on the command line, or a new one."""
    if arguments:
        show(Path(arguments[0]))
        return
    with tempfile.TemporaryDirectory() as folder:
        ArcticModel(preset("tiny"), seed=0).save_pretrained(Path(folder) / "tiny")
        show(Path(folder) / "tiny")


if __name__ == "__main__":
    main(sys.argv[1:])
