"""One more token of one sequence on one CPU core: the compiled `TokenPass` against a pass of the whole model.

The quickstart's model with random weights, float32, after 0 to 512 tokens in the cache; and for scale the time of a
Llama of `transformers` with the same number of layers of the same width.
"""

from collections.abc import Callable

import torch
from harness import arguments, interleave, machine, one_core, report

from arctic_model.inference.cpu.token_pass import TokenPass
from arctic_model.model import ArcticModel
from arctic_model.presets import preset

OURS, WHOLE, LLAMA = "token_pass", "a pass of the layers' own code", "transformers' Llama"


def main() -> None:
    options = arguments(__doc__.splitlines()[0])
    one_core()
    torch.set_num_threads(1)
    num_tokens, repeats = (32, 3) if options.quick else (128, 9)
    model = random_model()
    print(f"{'ids in the cache':34}{'ms a token':>12}{'spread':>9}")
    result = {}
    for length in (0, 512):
        result = interleave(contenders(model, length, num_tokens), repeats)
        for name, timing in result.items():
            print(f"{length:4}  {name:28}{timing.median / num_tokens * 1000:12.2f}{timing.spread:9.0%}")
    print(machine("torch", "transformers"))
    rates = {name: num_tokens / timing.median for name, timing in result.items()}
    ours = rates.pop(OURS)
    report("token_pass", ours, rates, "tokens per CPU second after 512", ours / rates[WHOLE], "2 x a pass or more")


def random_model() -> ArcticModel:
    torch.manual_seed(0)
    model = ArcticModel(preset("quickstart"))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.1)
    return model.eval()


def contenders(model: ArcticModel, length: int, num_tokens: int) -> dict[str, Callable[[], object]]:
    ids = torch.randint(model.config.vocab_size, (length + num_tokens,)).tolist()
    locations = range(length, length + num_tokens)

    fast, caches = TokenPass(model), model.new_caches(length + num_tokens)
    for cache in caches:
        torch.nn.init.normal_(cache.keys)
        torch.nn.init.normal_(cache.values)

    def forget() -> None:
        for cache in caches:
            cache.length = length

    @torch.inference_mode()
    def ours() -> None:
        forget()
        for location in locations:
            token, position = torch.tensor([[ids[location]]]), torch.tensor([[location]])
            fast.logits(token, position, torch.zeros(1, 1, 1, location + 1), torch.tensor([0]), caches)

    @torch.inference_mode()
    def whole() -> None:
        forget()
        segments = torch.zeros(1, 1, dtype=torch.long)
        for location in locations:
            token, position = torch.tensor([[ids[location]]]), torch.tensor([[location]])
            model.lm_head(
                model.hidden_states(token, position, segments, caches, mask=torch.zeros(1, 1, 1, location + 1)).hidden
            )

    return {OURS: ours, WHOLE: whole, LLAMA: llama(model, ids, length)}


def llama(model: ArcticModel, ids: list[int], length: int) -> Callable[[], object]:
    from transformers import DynamicCache, LlamaConfig, LlamaModel

    config = model.config
    peer = LlamaModel(
        LlamaConfig(
            vocab_size=config.vocab_size,
            hidden_size=config.hidden_size,
            # The dense MLP and the two experts of a token.
            intermediate_size=config.hidden_size + config.top_k * config.expert_size,
            num_hidden_layers=config.num_layers,
            num_attention_heads=config.num_heads,
            num_key_value_heads=config.num_kv_heads,
            max_position_embeddings=config.max_positions,
        )
    ).eval()
    shape = 1, config.num_kv_heads, length, config.head_dim

    @torch.inference_mode()
    def read() -> None:
        cache = DynamicCache()
        for layer in range(config.num_layers if length else 0):
            cache.update(torch.randn(shape), torch.randn(shape), layer)
        for token in ids[length:]:
            peer(torch.tensor([[token]]), past_key_values=cache, use_cache=True)

    return read


if __name__ == "__main__":
    main()
