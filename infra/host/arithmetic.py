"""Properties of a machine that decide the last bits of floating-point results: processor, GPUs, libraries, switches.

Sums in floating point depend on their order, and libraries choose the order by the processor's instruction set. So two
machines that differ here may give other bits for one key, although both are right. Nothing here imports a library.
"""

import os
import platform
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from infra.host.versions import version

INSTRUCTION_SETS = (
    *("sse4_2", "avx", "fma", "f16c", "avx2"),
    *("avx512f", "avx512dq", "avx512bw", "avx512vl", "avx512_vnni", "avx512_bf16", "avx512_fp16", "avx_vnni"),
    *("amx_tile", "amx_int8", "amx_bf16", "amx_fp16"),
    *("asimd", "asimdhp", "asimddp", "bf16", "i8mm", "sve", "sve2"),
)
"""Flags of /proc/cpuinfo that torch, oneDNN, MKL, OpenBLAS and numpy dispatch on."""
LIBRARIES = ("torch", "numpy", "deepspeed", "scikit-learn")
SWITCHES = (
    *("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS", "MKL_CBWR"),
    *("OPENBLAS_CORETYPE", "NPY_DISABLE_CPU_FEATURES", "NVIDIA_TF32_OVERRIDE"),
)
"""Environment variables by which these libraries are made to take another path."""
CPUINFO = Path("/proc/cpuinfo")
GPUS = Path("/proc/driver/nvidia/gpus")


@cache
def arithmetic() -> dict[str, Any]:
    """Plain data, equal on machines that give the same bits; no host names."""
    model, flags = _processor()
    return {
        "machine": platform.machine(),
        "cpu_model": model,
        "instruction_sets": [name for name in INSTRUCTION_SETS if name in flags],
        "gpus": sorted(_gpu_models()),
        "libc": " ".join(platform.libc_ver()),
        "libraries": {name: version(name) for name in LIBRARIES},
        "switches": {name: os.environ[name] for name in SWITCHES if name in os.environ},
    }


def differences(recorded: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """Each field of `arithmetic` in which two machines differ, in words; a result without a record differs in all."""
    if not recorded:
        return ["no record of its machine"]
    return [
        f"{name.replace('_', ' ')} {_words(recorded.get(name), here.get(name))}"
        for name in {**recorded, **here}
        if recorded.get(name) != here.get(name)
    ]


def _words(before: Any, after: Any) -> str:
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
        return ", ".join(f"{name} {before.get(name)} -> {after.get(name)}" for name in names)
    if isinstance(before, list) and isinstance(after, list):
        lost, new = [name for name in before if name not in after], [name for name in after if name not in before]
        return " ".join([f"-{name}" for name in lost] + [f"+{name}" for name in new]) or f"{before} -> {after}"
    return f"{before or 'none'} -> {after or 'none'}"


def _processor() -> tuple[str, frozenset[str]]:
    """Name and flags of the first processor."""
    try:
        text = CPUINFO.read_text(encoding="utf-8").partition("\n\n")[0]
    except FileNotFoundError:
        return platform.processor(), frozenset()
    lines = (line.partition(":") for line in text.splitlines())
    fields = {name.strip(): value.strip() for name, _, value in lines}
    return fields.get("model name", platform.machine()), frozenset(
        fields.get("flags", fields.get("Features", "")).split()
    )


def _gpu_models() -> list[str]:
    """Names of NVIDIA's GPUs as the driver gives them."""
    if not GPUS.is_dir():
        return []
    texts = (file.read_text(encoding="utf-8") for file in GPUS.glob("*/information"))
    return [line.partition(":")[2].strip() for text in texts for line in text.splitlines() if line.startswith("Model:")]
