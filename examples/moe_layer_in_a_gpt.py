"""Put Arctic's mixture of experts into a GPT of your own, and train it on a CPU in seconds.

    python examples/moe_layer_in_a_gpt.py

Each block replaces its MLP by `SparseMoE`. The balance loss keeps the experts evenly loaded; without it a few experts
take most of the tokens.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from arctic_model import ArcticConfig, SparseMoE, routing_balance

TEXT = "Sphinx of black quartz, judge my vow. Pack my box with five dozen liquor jugs. " * 20
NUM_STEPS, BATCH, LENGTH = 40, 8, 32
BALANCE_COEFFICIENT, Z_COEFFICIENT = 0.01, 0.001

CONFIG = ArcticConfig(
    vocab_size=128,
    hidden_size=64,
    num_layers=2,
    num_heads=4,
    num_kv_heads=4,
    num_experts=4,
    expert_size=96,
    max_positions=LENGTH,
    top_k=2,
)


class Block(nn.Module):
    """Causal attention, then the experts."""

    def __init__(self, config: ArcticConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.num_heads = config.num_heads
        self.attention_norm, self.moe_norm = nn.RMSNorm(width), nn.RMSNorm(width)
        self.qkv, self.output = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.moe = SparseMoE(config)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Hidden states [B, T, D], and the weighted losses of the router."""
        heads = self.qkv(self.attention_norm(x)).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(*heads, is_causal=True)
        x = x + self.output(mixed.transpose(1, 2).flatten(2))
        hidden, routing = self.moe.routed(self.moe_norm(x))
        balance = routing_balance(routing)
        return x + hidden, BALANCE_COEFFICIENT * balance.balance_loss + Z_COEFFICIENT * balance.z_loss


class GPT(nn.Module):
    """Token and position embeddings, blocks, head."""

    def __init__(self, config: ArcticConfig) -> None:
        super().__init__()
        self.tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.positions = nn.Embedding(config.max_positions, config.hidden_size)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.norm = nn.RMSNorm(config.hidden_size)
        self.head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [B, T, V], and the sum of the routers' losses."""
        x = self.tokens(ids) + self.positions.weight[: ids.shape[1]]
        router_loss = torch.zeros(())
        for block in self.blocks:
            x, loss = block(x)
            router_loss = router_loss + loss
        return self.head(self.norm(x)), router_loss


def batches(seed: int) -> Tensor:
    """Windows of the text [B, T + 1], a byte a token."""
    data = torch.frombuffer(bytearray(TEXT.encode()), dtype=torch.uint8).long()
    starts = torch.randint(len(data) - LENGTH, (BATCH,), generator=torch.Generator().manual_seed(seed))
    return torch.stack([data[start : start + LENGTH + 1] for start in starts.tolist()])


def main() -> list[float]:
    """Train, print the loss every tenth step, and return all losses."""
    torch.manual_seed(0)
    model = GPT(CONFIG)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    losses = []
    for step in range(NUM_STEPS):
        window = batches(step)
        logits, router_loss = model(window[:, :-1])
        loss = F.cross_entropy(logits.flatten(0, 1), window[:, 1:].flatten())
        optimizer.zero_grad()
        (loss + router_loss).backward()
        optimizer.step()
        losses.append(loss.item())
        if step % 10 == 0:
            print(f"step {step:3d}  loss {loss.item():.3f}")
    print(f"the loss fell from {losses[0]:.3f} to {losses[-1]:.3f}")
    return losses


if __name__ == "__main__":
    losses = main()
    if losses[-1] > losses[0] / 2:
        raise SystemExit("the loss did not fall")
