"""The scaling of rotary positions, in numbers. No torch here.

A longer context needs positions that the weights can read. Either the base grows and the model is trained on ("abf",
adjusted base frequency; Xiong et al. 2023, arXiv 2309.16039, section 2.1), or the slow frequencies are divided by a
factor and the attention scores are sharpened (YaRN; Peng et al. 2023, arXiv 2309.00071, sections 3.2 to 3.4).
"""

import math
from dataclasses import dataclass
from typing import NamedTuple


class Ramp(NamedTuple):
    """Pairs of a head below `low` keep their frequency, those above `high` are divided, between them both mix."""

    low: float
    high: float


@dataclass(frozen=True)
class Rope:
    """Rotary positions of heads of width `head_dim`: base `theta`, and YaRN's numbers if `factor` is above 1.

    Args:
        head_dim: width C of a head; C / 2 pairs are turned.
        theta: base of the frequencies.
        factor: how many times longer the context became by interpolation; 1: positions are not scaled.
        original_positions: context length before that.
        beta_fast: a pair with more turns than this in `original_positions` keeps its frequency.
        beta_slow: a pair with fewer turns than this is divided by `factor`.
        attention_factor: factor of cosine and sine; None: 0.1 ln(factor) + 1.
    """

    head_dim: int
    theta: float
    factor: float = 1.0
    original_positions: int | None = None
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    attention_factor: float | None = None

    @property
    def scale(self) -> float:
        """Factor of cosine and sine, so that of attention scores is its square (YaRN, equation 22)."""
        if self.attention_factor is not None:
            return self.attention_factor
        return default_attention_factor(self.factor)

    def ramp(self) -> Ramp:
        """Between which pairs YaRN mixes, rounded outwards as transformers, vLLM and llama.cpp do."""
        low = max(math.floor(self._pair_with_turns(self.beta_fast)), 0)
        high = min(math.ceil(self._pair_with_turns(self.beta_slow)), self.head_dim - 1)
        return Ramp(low, high if high != low else high + 0.001)

    def _pair_with_turns(self, turns: float) -> float:
        """The pair that turns so often within the original context."""
        assert self.original_positions
        wavelengths = math.log(self.original_positions / (turns * 2 * math.pi))
        return self.head_dim * wavelengths / (2 * math.log(self.theta))


def default_attention_factor(factor: float) -> float:
    """YaRN's, equation 22.

    >>> default_attention_factor(1.0)
    1.0
    """
    return 0.1 * math.log(factor) + 1.0
