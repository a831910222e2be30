"""The steps to skip: loss or gradient norm not finite, or a gradient norm far above the usual.

A few bad batches can undo thousands of steps (Chowdhery et al. 2022, arXiv 2204.02311, section 5.1, went back and
left the data out). The check runs before the weights change, on numbers that are equal on every worker, so all workers
decide alike and nothing has to be undone.
"""

import math
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from arctic_model.config import ArcticConfig
from arctic_model.training.optimization.settings import Optimization

NORM_SETTINGS = (
    *("balance_loss_coefficient", "z_loss_coefficient", "capacity_factor", "dtype", "gradient_dtype", "fp8"),
    "frozen",
)
"""Of `Optimization`: those that change which gradient is computed, or in which precision."""


@dataclass(frozen=True)
class SpikePolicy:
    """A gradient norm above `factor` times the median of the last `window` accepted norms is a spike, once half of
    the window is filled. `max_skipped` steps of any `window` may be skipped.

    OLMo-core's SkipStepOptimizer counts 6 standard deviations over 128 steps. A median does not move with the outliers
    it is compared to, and assumes nothing about their distribution. The factor is large on purpose: clipping handles
    smaller peaks.
    """

    factor: float = 10.0
    window: int = 128
    max_skipped: int = 10


def norm_conditions(
    config: ArcticConfig, optimization: Optimization, sequence_length: int, tokens_per_step: int
) -> dict[str, Any]:
    """All that gradient norms depend on besides weights and data, as JSON holds it: only norms of the same conditions
    are compared. Longer sequences or fewer frozen parts change norms by a factor that is no spike. The mixture of
    corpora is left out, since bad data is what the guard looks for.
    """
    settings = {name: getattr(optimization, name) for name in NORM_SETTINGS}
    return {
        "sequence_length": sequence_length,
        "tokens_per_step": tokens_per_step,
        "rope": asdict(config.rope),
        **settings,
        "frozen": sorted(optimization.frozen),
    }


class SpikeGuard:
    """Checks steps in order. `norms` and `skipped` (numbers of steps) are its whole state, for a checkpoint; begin with
    other norms if their conditions change (see `norm_conditions`)."""

    def __init__(self, policy: SpikePolicy, norms: Iterable[float] = (), skipped: Iterable[int] = ()) -> None:
        self.policy = policy
        self.norms = deque(norms, maxlen=policy.window)
        self.skipped = deque(skipped)

    @property
    def threshold(self) -> float:
        """The highest norm that is not a spike."""
        if len(self.norms) < max(2, self.policy.window // 2):
            return math.inf
        return self.policy.factor * median(self.norms)

    def fault(self, loss: float, gradient_norm: float, loss_by_corpus: Mapping[str, float] | None = None) -> str | None:
        """The reason to skip a step, None for a good step. A loss that is not finite is broken down by corpus."""
        if not math.isfinite(loss):
            return f"the loss is {loss}{_corpora(loss_by_corpus or {})}"
        if not math.isfinite(gradient_norm):
            return f"the gradient norm is {gradient_norm}"
        if gradient_norm > self.threshold:
            return (
                f"the gradient norm is {gradient_norm:.4g}, more than {self.policy.factor:g} times its median "
                f"{median(self.norms):.4g}"
            )
        return None

    def take(self, gradient_norm: float) -> None:
        """Record a step that updated the weights."""
        self.norms.append(gradient_norm)

    def skip(self, step: int) -> bool:
        """Record a skipped `step`. Returns whether training may continue."""
        self.skipped.append(step)
        while self.skipped[0] <= step - self.policy.window:
            self.skipped.popleft()
        return len(self.skipped) <= self.policy.max_skipped


def _corpora(losses: Mapping[str, float]) -> str:
    """The corpora whose loss is not finite, in words."""
    broken = [f"{corpus} {loss}" for corpus, loss in losses.items() if not math.isfinite(loss)]
    sound = [corpus for corpus, loss in losses.items() if math.isfinite(loss)]
    if not broken:
        return ""
    return f" (by corpus: {', '.join(broken)}; " + (f"finite in {', '.join(sound)})" if sound else "finite in none)")
