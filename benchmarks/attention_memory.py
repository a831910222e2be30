"""Memory of attention over long documents: peak of forward and backward, by documents and with a matrix of scores.

Each length runs in a separate process, whose peak resident memory is read from the system. The matrix, a bias of T x T
numbers, is the contender up to 8,192 tokens; by documents memory must grow with the length. The last column is one of
four workers that share the sequence, with the keys and values of all: the exchange is not counted.
"""

import json
import subprocess
import sys

from harness import arguments, machine, report

from arctic_model.peak_memory import peak_resident_bytes

LENGTHS, QUICK_LENGTHS = (4096, 8192, 16_384, 32_768), (2048, 4096, 8192)
LONGEST_MATRIX = 8192
HEADS, GROUPS, WIDTH = 4, 2, 32
"""The quickstart's attention."""
WORKERS = 4
CHILD = "--child"


def main() -> None:
    """Print a table of peaks, in MB above those of a process that only imports."""
    options = arguments(__doc__ or "")
    lengths = QUICK_LENGTHS if options.quick else LENGTHS
    idle = _peak("nothing", 0)
    print(f"{machine('torch')}\n{'tokens':>8} {'by documents':>13} {'with a matrix':>14} {'a worker of 4':>14}  MB")
    peaks: dict[tuple[str, int], float] = {}
    for length in lengths:
        for kind in ("documents", "matrix", "shared"):
            if kind != "matrix" or length <= LONGEST_MATRIX:
                peaks[kind, length] = _peak(kind, length) - idle
        matrix = f"{peaks['matrix', length]:14.0f}" if ("matrix", length) in peaks else f"{'-':>14}"
        shared = f"{peaks['shared', length]:14.0f}"
        print(f"{length:8,} {peaks['documents', length]:13.0f} {matrix} {shared}", flush=True)
    first, last = lengths[0], lengths[-1]
    growth = peaks["documents", last] / peaks["documents", first]
    compared = max(length for kind, length in peaks if kind == "matrix")
    report(
        "attention_memory",
        peaks["documents", compared],
        {"matrix": peaks["matrix", compared]},
        f"MB at {compared} tokens",
        growth / (last / first),
        "memory grows at most in proportion to the length: 1 or less",
    )


def _peak(kind: str, length: int) -> float:
    command = [sys.executable, __file__, CHILD, kind, str(length)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(json.loads(done.stdout))


def _child(kind: str, length: int) -> None:
    """Print the peak of this process, in MB, after a forward and a backward pass over two documents of a sequence."""
    import torch

    from arctic_model.layers.attention.context_parallel import local_chunks, pieces
    from arctic_model.layers.attention.document_mask import document_bias, documents
    from arctic_model.layers.attention.grouped_query import attend, attend_piece_by_piece

    torch.set_num_threads(1)
    if length:
        segments = (torch.arange(length) >= length // 4).long()[None]
        own = length // WORKERS if kind == "shared" else length
        sizes = ((own, HEADS), (length, GROUPS), (length, GROUPS))
        heads = [torch.randn(1, tokens, count, WIDTH, requires_grad=True) for tokens, count in sizes]
        if kind == "shared":
            mixed = attend_piece_by_piece(*heads, pieces(segments, local_chunks(length, 0, WORKERS)))
        else:
            mixed = attend(
                *heads, documents(segments) if kind == "documents" else document_bias(segments, torch.float32)
            )
        mixed.sum().backward()
    print(json.dumps(peak_resident_bytes() / 2**20))


if __name__ == "__main__":
    if sys.argv[1:2] == [CHILD]:
        _child(sys.argv[2], int(sys.argv[3]))
    else:
        main()
