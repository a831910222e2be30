"""Remove near duplicates from a folder of Parquet files, without a recipe or a cluster.

    python examples/deduplicate_a_folder.py [FOLDER]

FOLDER holds Parquet files with a column `text`. Without it, the example makes a small folder.
"""

import sys
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines import deduplicate


def main(folder: Path) -> None:
    decisions = deduplicate(folder)
    for row in decisions.to_pylist():
        if not row["keep"]:
            print(f"{row['doc_id']} repeats {row['kept_id']}: {row['reason']}, Jaccard {row['jaccard']:.2f}")
    print(f"{sum(decisions['keep'].to_pylist())} of {len(decisions)} documents are kept")


def make_folder(folder: Path) -> Path:
    """Two files; the second repeats a document of the first with one word changed."""
    river = " ".join(f"river{number}" for number in range(120))
    town = " ".join(f"town{number}" for number in range(90))
    pq.write_table(pa.table({"text": [river, town]}), folder / "part-0.parquet")
    pq.write_table(pa.table({"text": [river.replace("river60", "stream"), "short"]}), folder / "part-1.parquet")
    return folder


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(make_folder(Path(temporary)))
