"""The learning rate as a function of tokens: warm up, stay, decay (WSD; Hu et al. 2024, arXiv 2404.06395)."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """Linear from 0 to `peak_lr` over `warmup_tokens`, constant, then linear from `decay_start_tokens` to
    `final_lr_fraction * peak_lr` at `decay_end_tokens`. Without decay both are None. All count from the run's
    first token, so a phase sees only what concerns it."""

    peak_lr: float
    final_lr_fraction: float = 0.1
    warmup_tokens: int = 0
    decay_start_tokens: int | None = None
    decay_end_tokens: int | None = None

    def learning_rate(self, tokens: int) -> float:
        """The rate for the step after which `tokens` have been trained on."""
        rate = self.peak_lr
        if tokens < self.warmup_tokens:
            rate *= tokens / self.warmup_tokens
        if self.decay_start_tokens is not None and self.decay_end_tokens is not None:
            length = max(1, self.decay_end_tokens - self.decay_start_tokens)
            done = min(1.0, max(0.0, (tokens - self.decay_start_tokens) / length))
            rate *= 1.0 - done * (1.0 - self.final_lr_fraction)
        return rate
