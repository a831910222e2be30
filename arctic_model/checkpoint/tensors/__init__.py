"""The tensors of a checkpoint: names, shapes, and the safetensors files that hold them."""
