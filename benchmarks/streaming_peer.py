"""mosaicml-streaming's side of loader.py, run by an interpreter that has it: its pins differ from ours.

python streaming_peer.py ROWS.npy FOLDER BATCH: writes the rows as MDS shards, prints its version, then answers each
line of stdin, the name of a contender, with its CPU seconds and the sum of all ids that it gave.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import streaming
import torch
from streaming import MDSWriter, StreamingDataset
from torch.utils.data import DataLoader


def write(rows: np.ndarray, folder: Path) -> None:
    columns = {"tokens": f"ndarray:{rows.dtype}:{rows.shape[1]}"}
    with MDSWriter(out=str(folder), columns=columns, size_limit=1 << 26) as writer:
        for row in rows:
            writer.write({"tokens": row})


def collate(items: list[dict[str, np.ndarray]]) -> torch.Tensor:
    return torch.from_numpy(np.stack([item["tokens"] for item in items]).astype(np.int64))


def contenders(dataset: StreamingDataset, batch: int) -> dict[str, Callable[[], int]]:
    """The loader as its users run it; and its single items without iterator, order and worker."""

    def loader() -> int:
        return sum(int(ids[:, :-1].sum()) for ids in DataLoader(dataset, batch_size=batch, collate_fn=collate))

    def items() -> int:
        order = np.random.default_rng(0).permutation(len(dataset)).tolist()
        groups = (order[first : first + batch] for first in range(0, len(order), batch))
        return sum(int(collate([dataset[index] for index in group])[:, :-1].sum()) for group in groups)

    return {"loader": loader, "items": items}


def main() -> None:
    rows, folder, batch = np.load(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(1)
    write(rows, folder)
    dataset = StreamingDataset(local=str(folder), shuffle=True, shuffle_seed=1, batch_size=batch)
    result = contenders(dataset, batch)
    print(streaming.__version__, torch.__version__, flush=True)
    for line in sys.stdin:
        started = time.process_time()
        total = result[line.strip()]()
        print(time.process_time() - started, total, flush=True)


if __name__ == "__main__":
    main()
