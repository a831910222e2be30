#!/usr/bin/env bash
# Everything that only a GPU can show, in one command of at most nine minutes:
#
#     benchmarks/gpu/run.sh [--dry] [--out FOLDER] [--only PART ...]
#
# Needs torch 2.11 or later, and the package jaxtyping: installed, or as wheels in benchmarks/gpu/wheels (make them with
# `pip download jaxtyping --no-deps wadler-lindig -d benchmarks/gpu/wheels`). With transformers, Mixtral is measured too.
# --dry runs every part on a CPU at a small size. Results: FOLDER/results.json, and a profiler's trace beside it.
set -euo pipefail
python=${PYTHON:-python}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export PYTHONPATH="$here/../..:$here/..:$here${PYTHONPATH:+:$PYTHONPATH}" PYTHONWARNINGS=ignore
export PYTORCH_CUDA_ALLOC_CONF="${PYTORCH_CUDA_ALLOC_CONF:-expandable_segments:True}"
if compgen -G "$here/wheels/*.whl" >/dev/null && ! "$python" -c 'import jaxtyping' 2>/dev/null; then
    packages=$(mktemp -d)
    trap 'rm -rf "$packages"' EXIT
    "$python" -m pip install --quiet --no-index --no-deps --target "$packages" "$here"/wheels/*.whl
    export PYTHONPATH="$PYTHONPATH:$packages"
fi
"$python" "$here/run.py" "$@"
