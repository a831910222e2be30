"""Run every part in a separate process, and write the results to one JSON file after each of them.

A part that fails, even by a fault of the GPU, costs its own results only. The process ends with 1 if a part failed.
"""

import argparse
import json
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

LIMIT_S = 520
"""Of all parts together."""
DRY_PATIENCE = 4
"""How many times longer parts may take on a CPU, which may be busy."""
MODELS = ("arctic-2.5b-a400m", "arctic-3.6b-a1b", "arctic-1.4b-a150m")
PARTS: dict[str, tuple[list[str], int]] = {
    "correctness": (["correctness.py"], 120),
    "loss curve": (["loss_curve.py"], 120),
    **{
        f"step {model} {contender}": (["step.py", model, contender], 120 if contender == "compiled" else 60)
        for contender in ("fused", "flat", "deepspeed", "fp8", "eager", "dense", "mixtral", "compiled")
        for model in MODELS
    },
    "overlap forced balance": (["exchanges.py", "forced"], 60),
    "overlap real routing": (["exchanges.py", "real"], 60),
    "decode": (["decode.py"], 60),
}
"""Scripts with their arguments, and the most seconds of each. The most telling come first, in case time runs out."""


def main() -> int:
    options = arguments()
    options.out.mkdir(parents=True, exist_ok=True)
    results: dict[str, Any] = {"machine": machine(), "dry": options.dry, "parts": {}}
    patience = DRY_PATIENCE if options.dry else 1
    end = time.monotonic() + patience * LIMIT_S
    for name, (command, limit_s) in PARTS.items():
        # Every model is the same small one then.
        if options.dry and any(model in name for model in MODELS[1:]):
            continue
        if options.only and not any(word in name for word in options.only):
            continue
        results["parts"][name] = part(command, min(patience * limit_s, end - time.monotonic()), options)
        (options.out / "results.json").write_text(json.dumps(results, indent=1), encoding="utf-8")
        print(f"{name}: {json.dumps(results['parts'][name])}", flush=True)
    failed = [name for name, result in results["parts"].items() if "error" in result]
    print(f"{len(results['parts'])} parts, failed: {', '.join(failed) or 'none'}. {options.out / 'results.json'}")
    return 1 if failed else 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dry", action="store_true", help="small sizes on the CPU: shows that every part runs")
    parser.add_argument("--out", type=Path, default=Path("gpu-results"), help="folder of the results")
    parser.add_argument("--only", nargs="*", default=[], help="run the parts whose names hold one of these words")
    options = parser.parse_args()
    if not options.dry and not torch.cuda.is_available():
        parser.error("torch.cuda.is_available() is false. Run on a machine with a GPU, or with --dry.")
    return options


def part(command: list[str], limit_s: float, options: argparse.Namespace) -> dict[str, Any]:
    """The JSON object that a script prints last, with its seconds; or an error."""
    if limit_s < 5:
        return {"error": "no time was left"}
    script, *values = command
    line = [sys.executable, str(Path(__file__).with_name(script)), *values, "--out", str(options.out)]
    started = time.monotonic()
    try:
        done = subprocess.run(
            line + ["--dry"] * options.dry, capture_output=True, text=True, timeout=limit_s, check=False
        )
    except subprocess.TimeoutExpired:
        return {"error": f"took more than {limit_s:.0f} s"}
    if done.returncode:
        return {"error": done.stderr.strip()[-2000:] or f"exit status {done.returncode}"}
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result | {"seconds": round(time.monotonic() - started, 1)}


def machine() -> dict[str, Any]:
    result: dict[str, Any] = {"python": platform.python_version(), "torch": torch.__version__}
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        result |= {"gpu": properties.name, "memory_bytes": properties.total_memory, "cuda": torch.version.cuda}
    return result


if __name__ == "__main__":
    sys.exit(main())
