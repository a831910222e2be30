"""Compile every kernel to machine code. The signatures are those of bfloat16 training with two experts a token."""

from collections.abc import Iterator
from typing import Any

import torch
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile

from arctic_model.kernels import on_gpu, triton_grouped, triton_kernels

CAPABILITIES = (80, 89, 90)
HALF, FLOAT, INT = "*bf16", "*fp32", "*i64"
SIGNATURES: dict[str, tuple[list[str], dict[str, int | bool]]] = {
    "rms_norms": ([HALF] * 7 + [FLOAT, "i32", "fp32"], {"NUM_NORMS": 2, "HAS_ADDEND": True, "BLOCK": 2048}),
    "rms_norms_backward": (
        [HALF] * 6 + [FLOAT, HALF, FLOAT, "i32", "i32"],
        {"NUM_NORMS": 2, "ROWS": 64, "BLOCK": 2048},
    ),
    "swiglu": ([HALF] * 3 + ["i32"] * 3, {"BLOCK": 1024}),
    "swiglu_backward": ([HALF] * 6 + ["i32"] * 6, {"HAS_INNER": True, "BLOCK": 1024}),
    "rotate": ([HALF] * 3 + [FLOAT] * 2 + [HALF] + ["i32"] * 12, {"HEADS": 32, "HALF": 32}),
    "quantized_rows": ([HALF, "*fp8e4nv", FLOAT, "i32"], {"BLOCK": 4096}),
    "rows_of_assignments": ([INT] * 3 + ["i32"] * 2, {"TOP_K": 2, "BLOCK": 1024}),
    "weighted_sum": (
        [HALF, INT, FLOAT, HALF, HALF, HALF, "i32", "i32"],
        {"TOP_K": 2, "HAS_WEIGHTS": True, "NUM_BASES": 2, "BLOCK": 1024},
    ),
    "weighted_sum_backward": ([HALF, HALF, FLOAT, INT, HALF, FLOAT, "i32", "i32"], {"TOP_K": 2, "BLOCK": 2048}),
    "softmax_residual": ([HALF, INT, FLOAT, HALF, "i32", "i32", "i32"], {"BLOCK": 4096}),
}

STRIDES = {"rows_times_matrices": 8, "products_of_groups": 6}
"""Of the kernels for groups, after their tensors: sizes and strides."""
SHARED_BYTES = 99 * 1024
"""Of one program on Ada, which has the least."""


def grouped_signatures() -> Iterator[tuple[str, list[str], dict[str, Any], dict[str, int]]]:
    """Kernel, types, constants and options: tiles as they are launched, for each dtype and 128 groups."""
    for pointer, dtype in ((HALF, torch.bfloat16), (FLOAT, torch.float32)):
        tile = on_gpu.GROUPED_TILES[dtype]
        blocks = {"ROWS": tile.rows, "COLUMNS": tile.columns, "INNER": tile.inner}
        for name, num_sizes in STRIDES.items():
            constants = {"GROUPS": 128, **blocks} if name == "rows_times_matrices" else blocks
            yield name, [pointer, pointer, "*i32", pointer, *["i32"] * num_sizes], constants, tile.options


def check(kernel: Any, types: list[str], constants: dict[str, Any], capability: int, options: dict[str, int]) -> None:
    signature = dict(zip(kernel.arg_names, [*types, *["constexpr"] * len(constants)], strict=True))
    source = ASTSource(kernel, signature, constants)
    compiled = compile(source, target=GPUTarget("cuda", capability, 32), options=options)
    assert compiled.asm["cubin"], (kernel, capability)
    assert compiled.metadata.shared <= SHARED_BYTES, (kernel, capability, compiled.metadata.shared)


if __name__ == "__main__":
    for name, (types, constants) in SIGNATURES.items():
        # Ampere has no FP8.
        for capability in CAPABILITIES[1:] if name == "quantized_rows" else CAPABILITIES:
            check(getattr(triton_kernels, name), types, constants, capability, {})
    for name, types, constants, options in grouped_signatures():
        for capability in CAPABILITIES:
            check(getattr(triton_grouped, name), types, constants, capability, options)
