"""Every shape annotation of the model is checked while its tests run."""

from jaxtyping import install_import_hook

install_import_hook("arctic_model", "beartype.beartype")
