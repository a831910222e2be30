"""Every shape annotation of the model is checked while its tests run."""

from collections.abc import Iterator

import pytest
from jaxtyping import install_import_hook

CHECKED = ("checkpoint", "inference", "kernels", "layer", "layers", "model", "moe", "training", "weight_init")
"""All that has tensors. Configurations refuse wrong values themselves, in words that other tests in the same process
expect."""

install_import_hook([f"arctic_model.{name}" for name in CHECKED], "beartype.beartype")


@pytest.fixture
def one_worker() -> Iterator[None]:
    """A group of this process alone."""
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()
