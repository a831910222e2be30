"""The loss of 200 steps in bfloat16 on the GPU and in float32 on the CPU, from the same weights and batches.

Fails if the mean of the last tenth of the steps differs by more than LIMIT nats, or the loss does not fall.
"""

import torch
from setting import batch, finish, options

from arctic_model.model import ArcticModel
from arctic_model.presets import preset
from arctic_model.training.losses.objective import Scale, training_loss
from arctic_model.training.optimization.settings import Optimization

LIMIT = 0.05
CONFIG = preset("tiny", {"hidden_size": 64, "num_heads": 2, "num_kv_heads": 1, "expert_size": 48})


def curve(device: torch.device, dtype: torch.dtype, num_steps: int) -> list[float]:
    """AdamW on float32 weights, whose copies in `dtype` compute."""
    model = ArcticModel(CONFIG, seed=0).to(device, dtype)
    masters = [parameter.detach().float().clone().requires_grad_() for parameter in model.parameters()]
    optimizer = torch.optim.AdamW(masters, lr=3e-3, fused=True)
    losses = []
    load = torch.zeros(CONFIG.num_layers, CONFIG.num_experts, device=device)
    for step in range(num_steps):
        provided = batch(CONFIG, 4, device, seed=step)
        loss, _ = training_loss(
            model, provided, Scale(provided.ids.numel(), provided.ids.numel(), load), Optimization()
        )
        loss.backward()
        for master, parameter in zip(masters, model.parameters(), strict=True):
            master.grad = None if parameter.grad is None else parameter.grad.float()
            parameter.grad = None
        optimizer.step()
        with torch.no_grad():
            torch._foreach_copy_(list(model.parameters()), masters)
        losses.append(float(loss))
    return losses


def main() -> None:
    provided = options()
    num_steps = 20 if provided.dry else 200
    ours = curve(provided.device, torch.bfloat16, num_steps)
    reference = curve(torch.device("cpu"), torch.float32, num_steps)
    last = num_steps // 10
    ends = [sum(losses[-last:]) / last for losses in (ours, reference)]
    largest = max(abs(a - b) for a, b in zip(ours, reference, strict=True))
    if abs(ends[0] - ends[1]) > LIMIT or ends[0] > ours[0] - 0.3:
        raise SystemExit(f"the loss ends at {ends[0]:.4f}, in float32 at {ends[1]:.4f}; it began at {ours[0]:.4f}")
    finish(steps=num_steps, first=ours[0], last=ends[0], last_float32=ends[1], largest_difference=largest)


if __name__ == "__main__":
    main()
