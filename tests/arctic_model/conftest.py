"""Every shape annotation of the model is checked while its tests run."""

from jaxtyping import install_import_hook

CHECKED = ("checkpoint", "inference", "kernels", "layer", "layers", "model", "moe", "training", "weight_init")
"""All that has tensors. Configurations refuse wrong values themselves, in words that other tests in the same process
expect."""

install_import_hook([f"arctic_model.{name}" for name in CHECKED], "beartype.beartype")
