"""Low-rank adaptation (Hu et al. 2021, arXiv 2106.09685): small matrices are trained in parallel to frozen weights."""

from arctic_model.training.lora.adapters import adapter_tensors, adapters, add_adapters, draw_adapters, is_adapter
from arctic_model.training.lora.files import read_adapter, write_adapter
from arctic_model.training.lora.merging import merged, write_merged
from arctic_model.training.optimization.settings import Lora

__all__ = [
    "Lora",
    "adapter_tensors",
    "adapters",
    "add_adapters",
    "draw_adapters",
    "is_adapter",
    "merged",
    "read_adapter",
    "write_adapter",
    "write_merged",
]
