"""Compile every kernel to machine code. The signatures are those of bfloat16 training with two experts a token."""

from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile

from arctic_model.kernels import triton_kernels as kernels

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

if __name__ == "__main__":
    for name, (types, constants) in SIGNATURES.items():
        kernel = getattr(kernels, name)
        signature = dict(zip(kernel.arg_names, [*types, *["constexpr"] * len(constants)], strict=True))
        # Ampere has no FP8.
        for capability in CAPABILITIES[1:] if name == "quantized_rows" else CAPABILITIES:
            source = ASTSource(kernel, signature, constants)
            assert compile(source, target=GPUTarget("cuda", capability, 32)).asm["cubin"], (name, capability)
