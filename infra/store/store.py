"""The store: results under their keys, each committed by one rename, and nothing else.

<root>/stages/<name>/<subject>-<key>/             files and manifest.json: exists only when complete
<root>/stages/<name>/<subject>-<key>.state/       lock, finished shards and checkpoints: survives attempts
<root>/stages/<name>/.<subject>-<key>.<random>/   scratch of a running attempt
<root>/runs/<run id>/                             lock.json, events.jsonl

Several runs share a store: each stage has one builder at a time, which holds the lock in the stage's state.
"""

import os
import secrets
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from infra.artifact import Artifact, FileEntry, Manifest
from infra.host.surroundings import account_name
from infra.stage import Stage
from infra.store.errors import StoreError, disk_full
from infra.store.files import file_digest, footer_digest, rename_durably, write_durably
from infra.store.locks import Waiting, locked

MANIFEST = "manifest.json"
LOCK = "lock"
SHARED = stat.S_ISGID | stat.S_IWGRP


class Store:
    """A folder of committed results.

    Example:
        >>> import tempfile
        >>> from infra import Stage, Store
        >>> store = Store(tempfile.mkdtemp()).open()
        >>> print(store.find(Stage("count", work=lambda context, inputs: {})))
        None
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root).resolve()

    def open(self) -> "Store":
        """This store, made if missing and tried by a write. What is made in a folder that its group shares (setgid and
        group-writable) is the group's to change as well. Raises StoreError."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            if self.root.stat().st_mode & SHARED == SHARED:
                os.umask(os.umask(0o077) & ~stat.S_IRWXG)
            (self.root / "stages").mkdir(exist_ok=True)
            (self.root / "runs").mkdir(exist_ok=True)
            probe = self.root / f".probe-{secrets.token_hex(4)}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise StoreError(
                f"store {self.root}: cannot write there ({error.strerror}). Choose another folder with --store."
            ) from error
        self._require_writable()
        return self

    def _require_writable(self) -> None:
        """Find what another user made here and this one cannot change, before a stage meets it."""
        parts = [self.root / name for name in ("stages", "runs", "mlflow.db", "mlartifacts")]
        parts += [*(self.root / "stages").iterdir(), *(self.root / "runs").iterdir()]
        closed = [path for path in parts if path.exists() and not os.access(path, os.W_OK)]
        if closed:
            uid = closed[0].stat().st_uid
            owner = account_name(uid) or f"user {uid}"
            raise StoreError(
                f"store {self.root}: {closed[0]} belongs to {owner}, and this user cannot write it. Give this run its "
                f"own folder with --store, or let {owner} share the store with a group: chgrp -R GROUP, "
                "chmod -R g+rwX, and chmod g+s on its folders."
            )

    @contextmanager
    def writing(self) -> Iterator["Store"]:
        """This store, opened for a run that writes to it. Raises StoreError, also if the disk is full by then."""
        self.open()
        try:
            yield self
        except OSError as error:
            if full := disk_full(error, self.root, "writing the run's files"):
                raise full from None
            raise

    @contextmanager
    def building(self, stage: Stage, waiting: Waiting) -> Iterator[Artifact | None]:
        """Hold `stage`, so that one attempt at a time builds it, without the scratch of earlier ones.

        Yields the result if another process committed it in the meantime. `waiting` is called while another holds it.
        Raises StoreError if the file system cannot lock files.
        """
        with locked(self.state(stage) / LOCK, waiting):
            committed = self.find(stage)
            if committed:
                shutil.rmtree(self.state(stage), ignore_errors=True)
            for leftover in self._folder(stage.name).glob(f".{self._leaf(stage)}.*"):
                shutil.rmtree(leftover, ignore_errors=True)
            yield committed

    def path(self, stage: Stage) -> Path:
        """Where the committed result of `stage` is or will be."""
        return self._folder(stage.name) / self._leaf(stage)

    def state(self, stage: Stage) -> Path:
        """Folder that survives attempts of `stage`, until the result is committed."""
        return self._folder(stage.name) / f"{self._leaf(stage)}.state"

    def find(self, stage: Stage) -> Artifact | None:
        """The committed result of `stage`, or None. Raises StoreError if a manifest cannot be read."""
        path = self.path(stage)
        return self.read(path) if (path / MANIFEST).is_file() else None

    def read(self, path: Path) -> Artifact:
        """The committed result in folder `path`. Raises StoreError."""
        try:
            return Artifact(path, Manifest.from_json((path / MANIFEST).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise StoreError(
                f"{path / MANIFEST}: unreadable manifest ({error}). Delete the folder to build it again."
            ) from error

    def artifacts(self) -> Iterator[Artifact]:
        """Every committed result, by name, subject and key."""
        for manifest in sorted(self.root.glob(f"stages/*/[!.]*/{MANIFEST}")):
            yield self.read(manifest.parent)

    def siblings(self, stage: Stage, code: str) -> Iterator[Artifact]:
        """Committed results of other parameters, inputs or subjects, made by the same version and code as `stage`."""
        for manifest in sorted(self._folder(stage.name).glob(f"[!.]*/{MANIFEST}")):
            artifact = self.read(manifest.parent)
            if artifact.manifest.version == stage.version and artifact.manifest.provenance["code"] == code:
                yield artifact

    def scratch(self, stage: Stage) -> Path:
        """A fresh folder for one attempt of `stage`."""
        path = self._folder(stage.name) / f".{self._leaf(stage)}.{secrets.token_hex(4)}"
        path.mkdir(parents=True)
        return path

    def commit(
        self,
        stage: Stage,
        scratch: Path,
        *,
        metrics: Mapping[str, float],
        quarantined: list[Mapping[str, str]],
        seconds: float,
        provenance: Mapping[str, Any],
        shards: Mapping[str, Mapping[str, Any]],
    ) -> Artifact:
        """Hash every file of `scratch` into a manifest and rename the folder into place, flushed to disk first.

        Where another attempt committed the same key before, its result stands and `scratch` is removed.
        """
        manifest = Manifest(
            id=stage.id,
            name=stage.name,
            subject=stage.subject,
            key=stage.key,
            version=stage.version,
            params=stage.params,
            inputs={name: upstream.key for name, upstream in stage.inputs.items()},
            files=tuple(_entry(file, scratch) for file in sorted(scratch.rglob("*")) if file.is_file()),
            metrics=dict(metrics),
            quarantined=tuple(quarantined),
            seconds=round(seconds, 3),
            provenance=provenance,
            shards=shards,
        )
        write_durably(scratch / MANIFEST, manifest.to_json())
        rename_durably(scratch, self.path(stage))
        shutil.rmtree(self.state(stage), ignore_errors=True)
        return self.read(self.path(stage))

    def verify(self, artifact: Artifact) -> None:
        """Hash every file again. Raises StoreError naming the first that differs from its manifest."""
        for entry in artifact.manifest.files:
            file = artifact.path / entry.path
            if not file.is_file() or _entry(file, artifact.path).sha256 != entry.sha256:
                raise StoreError(
                    f"{file}: differs from its manifest. Delete {artifact.path} to build {artifact.manifest.id} again."
                )

    def _folder(self, name: str) -> Path:
        return self.root / "stages" / name

    def _leaf(self, stage: Stage) -> str:
        return f"{stage.subject}-{stage.key}" if stage.subject else stage.key


def _entry(file: Path, folder: Path) -> FileEntry:
    path, size, sha256 = file.relative_to(folder).as_posix(), file.stat().st_size, file_digest(file)
    if file.suffix != ".parquet":
        return FileEntry(path, size, sha256)
    return FileEntry(path, size, sha256, pq.read_metadata(file).num_rows, footer_digest(file))
