"""Newest figures of a training as text: losses, learning rate, balance of the router and MFU."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

SMOOTHING = 0.95
"""Weight of the smoothed loss against that of a new step: a mean of about the last twenty."""


@dataclass
class TrainingFigures:
    """Figures of the newest step, and the loss smoothed over the steps so far."""

    step: int = 0
    values: Mapping[str, float] = field(default_factory=dict)
    smoothed_loss: float | None = None

    def take(self, points: Sequence[tuple[int, Mapping[str, float]]]) -> None:
        """Take (step, metrics) points in order; points that were taken before change nothing."""
        for step, values in points:
            if step <= self.step or "train/loss" not in values:
                continue
            self.step, self.values = step, values
            loss, before = values["train/loss"], self.smoothed_loss
            if not values.get("train/skipped"):
                self.smoothed_loss = loss if before is None else SMOOTHING * before + (1 - SMOOTHING) * loss

    @property
    def text(self) -> str:
        """The figures, most important first; empty before the first step."""
        if not self.values:
            return ""
        loss, smoothed = self.values["train/loss"], self.smoothed_loss
        parts = [f"loss {loss:.3f}" + ("" if smoothed in (None, loss) else f" (smoothed {smoothed:.3f})")]
        parts += [text.format(self.values[name]) for name, text in PARTS.items() if name in self.values]
        return ", ".join(parts)


PARTS = {
    "train/learning_rate": "lr {:.3g}",
    "router/max_expert_load": "busiest expert {:.1f} x",
    "train/mfu": "MFU {:.0%}",
}
