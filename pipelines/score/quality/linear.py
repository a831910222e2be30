"""A classifier of quality in one file: hashed word uni- and bigrams, one weight each (logistic regression).

The file is a .safetensors with `weight` float32 [2^b] and `bias` float32 [1], and FORMAT in its header.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipelines.score.text.bits import MULTIPLIER
from pipelines.score.text.characters import Characters

FORMAT = "hashed word uni- and bigrams, logistic regression, 1"


@dataclass(frozen=True)
class QualityModel:
    """`weight`: float32 by feature; `bias`: its logit for a text without words."""

    weight: np.ndarray
    bias: float

    def probability(self, characters: Characters) -> float:
        """That a text is of the good kind."""
        logit, hashes = self.bias, characters.words.hashes
        if len(hashes):
            logit += float(self.weight[features(hashes, len(self.weight))].mean(dtype=np.float64))
        return float(1.0 / (1.0 + np.exp(-logit)))

    def save(self, path: Path) -> None:
        from safetensors.numpy import save_file

        tensors = {"weight": self.weight.astype(np.float32), "bias": np.array([self.bias], np.float32)}
        save_file(tensors, path, metadata={"format": FORMAT})

    @classmethod
    def load(cls, path: Path) -> "QualityModel":
        """Raises ValueError if the file holds something else."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="numpy") as file:
                if (file.metadata() or {}).get("format") != FORMAT:
                    raise ValueError(f"its header lacks {FORMAT!r}")
                weight, bias = file.get_tensor("weight"), file.get_tensor("bias")
        except (SafetensorError, ValueError) as error:
            raise ValueError(
                f"{path}: no quality model ({error}). Train one with arctic train-quality, or name a .bin of fastText."
            ) from None
        return cls(weight, float(bias[0]))


def features(hashes: np.ndarray, num_features: int) -> np.ndarray:
    """int64: the feature of every word and of every pair of neighbours; `num_features` is a power of two."""
    pairs = (hashes[:-1] ^ (hashes[1:] * MULTIPLIER)) * MULTIPLIER
    bits = np.uint64(64 - num_features.bit_length() + 1)
    return (np.concatenate((hashes * MULTIPLIER, pairs)) >> bits).astype(np.int64)
