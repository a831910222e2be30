"""The files of a working folder that travel with a job, measured before they are sent: a head refuses a package that is
too large, and only once all of it has arrived."""

import logging
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from arctic_errors import UserError

LIMIT_BYTES = 100 * 2**20
"""The largest request that the dashboard of a Ray head takes (`DASHBOARD_CLIENT_MAX_SIZE`)."""
ENTRY_BYTES = 76
"""Of a file in the package besides its content and twice its name: Ray packs a zip without compression."""
END_BYTES = 22
"""Of the package's directory."""
SECRETS = (".git", ".venv", "venv", "*.pem", "*.key", ".env", ".env.*")
REMADE = ("__pycache__", ".*_cache", ".ipynb_checkpoints", "*.egg-info", "node_modules")
RESULTS = ("mlruns", "mlartifacts", "mlflow.db*")
"""MLflow's. Stores are recognized by their contents."""
DATA = (
    *("*.ipynb", "*.warc", "*.warc.gz", "*.wet.gz", "*.wat.gz", "*.parquet", "*.arrow", "*.jsonl", "*.jsonl.gz"),
    *("*.jsonl.zst", "*.npy", "*.npz", "*.safetensors", "*.bin", "*.pt", "*.pth", "*.ckpt", "*.gguf", "*.h5"),
    *("*.tar", "*.tar.*", "*.tgz", "*.zip", "*.7z"),
)
"""Notebooks, corpora, weights and archives: a job reads its data from the cluster's file system. Files that the recipe
itself names do travel."""
SHOWN = 5
FOLDER_LEVELS = 2


class UploadError(UserError, RuntimeError):
    """A folder that cannot be sent: the message names its size, the limit, the large files, and the remedy."""


@dataclass(frozen=True)
class Upload:
    """The package to send: bytes by file, relative to `folder`."""

    folder: Path
    files: dict[str, int]

    @property
    def num_bytes(self) -> int:
        return sum(self.files.values()) + END_BYTES

    def __str__(self) -> str:
        return f"{self.folder}: {len(self.files):,} files, {_size(self.num_bytes)}{self._largest(self._by_folder())}"

    def require_files(self, needed: Sequence[str]) -> None:
        """Raise UploadError if one of the files `needed`, relative to `folder`, is left out."""
        for name in needed:
            if (self.folder / name).is_file() and name not in self.files:
                raise UploadError(
                    f"{self.folder / name}: the job needs it, and {self.folder / '.gitignore'}, another ignore file or "
                    "the list of secrets leaves it out. Remove the pattern that matches it, or rename the file."
                )

    def require_sendable(self) -> None:
        """Raise UploadError if a head would refuse it."""
        if self.num_bytes < LIMIT_BYTES:
            return
        files = self._largest(Counter(self.files), "files")
        raise UploadError(
            f"{self}{files}. A Ray head takes less than {LIMIT_BYTES // 2**20} MiB. List files that the job does not "
            f"need in {self.folder / '.gitignore'} or .rayignore, or submit from a smaller folder; data belongs on "
            "the file system that the cluster's machines share."
        )

    def _by_folder(self) -> Counter[str]:
        """Bytes below each folder, two levels deep."""
        sizes: Counter[str] = Counter()
        for file, size in self.files.items():
            sizes["/".join([*Path(file).parts[:-1][:FOLDER_LEVELS], ""]) or "./"] += size
        return sizes

    def _largest(self, sizes: Counter[str], kind: str = "folders") -> str:
        shown = ", ".join(f"{name} {_size(size)}" for name, size in sizes.most_common(SHOWN))
        return f"; largest {kind}: {shown}" if shown else ""


def excludes(folder: Path, needed: Sequence[str] = ()) -> list[str]:
    """Patterns, as in .gitignore, of files that are never sent, regardless of .gitignore: secrets, results, stores,
    data, and files that can be generated again. `needed`: files and folders, relative to `folder`, that travel though
    they are data."""
    stores = [f"/{store.relative_to(folder).as_posix()}/" for store in _stores(folder)]
    exceptions = [f"!/{name}" for name in needed] + [f"!/{name}/**" for name in needed if (folder / name).is_dir()]
    return [*DATA, *exceptions, *SECRETS, *REMADE, *RESULTS, *sorted(stores)]


def measure(folder: Path, patterns: Sequence[str]) -> Upload:
    """The files of `folder` that Ray would pack, chosen by Ray's own rules: .gitignore and .rayignore count too."""
    from ray._private.runtime_env.packaging import _dir_travel, _get_excludes

    # Ray logs every ignore file that it reads.
    quiet = logging.getLogger(f"{__name__}.ray")
    quiet.setLevel(logging.ERROR)

    files: dict[str, int] = {}
    root = folder.absolute()

    def note(path: Path) -> None:
        if path.is_file():
            name = path.relative_to(root).as_posix()
            files[name] = path.stat().st_size + ENTRY_BYTES + 2 * len(name.encode())

    _dir_travel(root, [_get_excludes(root, list(patterns))], note, include_gitignore=True, logger=quiet)
    return Upload(root, files)


def _stores(folder: Path) -> Iterator[Path]:
    """Stores below `folder`, however deep."""
    for directory, names, _ in os.walk(folder):
        path = Path(directory)
        if path != folder and "stages" in names and not any((path / "stages").glob("*.py")):
            yield path
            names.clear()
        names[:] = [name for name in names if not name.startswith(".") and name not in (*SECRETS, *REMADE)]


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 2**20:,.1f} MiB"
