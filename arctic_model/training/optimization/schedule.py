"""The learning rate as a function of tokens: warm up, stay, decay (WSD), or warm up and decay by a cosine."""

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Schedule:
    """Linear from 0 to `peak_lr` over `warmup_tokens`, constant, then down to `final_lr_fraction * peak_lr` between
    `decay_start_tokens` and `decay_end_tokens`, constant afterwards.

    With a linear `decay` over the run's last part this is WSD (Hu et al. 2024, arXiv 2404.06395); with a cosine from
    the end of warm-up on it is that of Loshchilov and Hutter 2016 (arXiv 1608.03983, equation 5, one period). Without
    decay both points are None. All count from the first token of the run.
    """

    peak_lr: float
    final_lr_fraction: float = 0.1
    warmup_tokens: int = 0
    decay_start_tokens: int | None = None
    decay_end_tokens: int | None = None
    decay: Literal["linear", "cosine"] = "linear"

    def learning_rate(self, tokens: int) -> float:
        """The rate of the step that ends after `tokens` tokens of training."""
        rate = self.peak_lr
        if tokens < self.warmup_tokens:
            rate *= tokens / self.warmup_tokens
        if self.decay_start_tokens is not None and self.decay_end_tokens is not None:
            length = max(1, self.decay_end_tokens - self.decay_start_tokens)
            done = min(1.0, max(0.0, (tokens - self.decay_start_tokens) / length))
            rate *= 1.0 - self._fallen(done) * (1.0 - self.final_lr_fraction)
        return rate

    def _fallen(self, done: float) -> float:
        """Fraction of the way down after the fraction `done` of the decay."""
        return done if self.decay == "linear" else (1.0 - math.cos(math.pi * done)) / 2
