"""The store: results under their keys, each complete or absent, in a folder or in object storage.

<root>/stages/<name>/<subject>-<key>/             files and manifest.json: exists only when complete
<root>/stages/<name>/<subject>-<key>.state/       lock, finished shards and checkpoints: survives attempts
<root>/stages/<name>/.<subject>-<key>.<random>/   scratch of a running attempt
<root>/runs/<run id>/                             lock.json, events.jsonl

Several runs share a store: each stage has one builder at a time, which holds the lock in the stage's state. Of a store
in object storage this folder is the working copy; see `infra.store.remote`.
"""

import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from infra.artifact import Artifact, FileEntry, Manifest, released
from infra.host.surroundings import account_name
from infra.stage import Stage
from infra.store.cache import MANIFEST
from infra.store.errors import StoreError, disk_full
from infra.store.files import file_digest, footer_digest, remove_folder, rename_durably, write_durably
from infra.store.lease import Lease, leased, repeated
from infra.store.locks import Waiting, locked
from infra.store.objects import ObjectError
from infra.store.remote import LOCK, Remote, Snapshots

SNAPSHOT_S = 30.0
"""Between two snapshots of an unfinished stage in object storage."""
PRUNING_LOCK = ".pruning.lock"
SHARED = stat.S_ISGID | stat.S_IWGRP


@dataclass
class Turn:
    """The time in which a process builds a stage. `committed`: the result that another process made before."""

    lease: Lease | None = None
    committed: Artifact | None = None
    trouble: str = ""
    """Why the last snapshot of the stage's state failed."""
    _snapshots: Snapshots = field(default_factory=Snapshots)

    def require(self) -> None:
        """Raise LeaseLostError if another run took the stage over."""
        if self.lease:
            self.lease.require()

    def snapshot(self, remote: Remote, state: Path) -> None:
        """Store the stage's state, unless another run took the stage over; a failure is reported and not raised, since
        a next snapshot may succeed."""
        if self.lease and self.lease.lost:
            return
        try:
            remote.save_state(state, self._snapshots)
            self.trouble = ""
        except ObjectError as error:
            self.trouble = f"unfinished work cannot be saved: {error}"


class Store:
    """Committed results, in a folder or at an address such as `s3://bucket/prefix`.

    Example:
        >>> import tempfile
        >>> from infra import Stage, Store
        >>> store = Store(tempfile.mkdtemp()).open()
        >>> print(store.find(Stage("count", work=lambda context, inputs: {})))
        None
    """

    def __init__(self, location: Path | str) -> None:
        self.remote = Remote.at(location) if isinstance(location, str) and "://" in location else None
        self.root = self.remote.root if self.remote else _resolved(Path(location))

    @property
    def name(self) -> str:
        """The folder, or the address without its options."""
        return self.remote.objects.place if self.remote else str(self.root)

    def refresh(self) -> None:
        """Learn which results are committed in object storage; a folder shows its own at once. Raises StoreError if the
        storage does not answer, or a file has the store's name."""
        if self.root.exists() and not self.root.is_dir():
            raise StoreError(f"store {self.name}: a file, not a folder. Name a folder with --store.")
        if self.remote:
            self.remote.refresh()

    def open(self) -> "Store":
        """This store, made if missing and tried by a write. In a folder that its group shares (setgid and
        group-writable), new files are writable by the group as well. Raises StoreError."""
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
        if self.remote:
            self.remote.probe()
            self.remote.refresh()
        return self

    def _require_writable(self) -> None:
        """Detect files of another user that this one cannot change, before a stage needs them."""
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
        """This store, opened for a run that writes to it. A run that is refused before it wrote anything leaves no new
        store behind. Raises StoreError, also if the disk is full by then."""
        is_new = not self.root.exists()
        try:
            self.open()
            yield self
        except BaseException as error:
            if is_new:
                self._remove_empty()
            full = disk_full(error, self.root, "writing the run's files") if isinstance(error, OSError) else None
            if full:
                raise full from None
            raise

    def _remove_empty(self) -> None:
        """Remove the folders of a store in which there is no file."""
        if not any(path.is_file() for path in self.root.rglob("*")):
            for folder in (self.root / "stages", self.root / "runs", self.root):
                with suppress(OSError):
                    folder.rmdir()

    @contextmanager
    def pruning_blocked(self, waiting: Waiting) -> Iterator[Callable[[], None]]:
        """Hold the store, so that results stay while a run names those that it uses, or while unused ones are removed.

        Yields a call that raises LeaseLostError if the store is no longer held. `waiting` is called while another
        process holds it.
        """
        with ExitStack() as held:
            held.enter_context(locked(self.root / PRUNING_LOCK, waiting))
            lease = held.enter_context(self.remote.pruning_blocked(waiting)) if self.remote else None
            yield lease.require if lease else _nothing

    @contextmanager
    def building(self, stage: Stage, waiting: Waiting) -> Iterator["Turn"]:
        """Hold `stage`, so that one attempt at a time builds it, without the scratch of earlier ones.

        `waiting` is called while another process holds it. Raises StoreError if the file system cannot lock files, or
        object storage fails.
        """
        with locked(self.state(stage) / LOCK, waiting), self._leased(stage, waiting) as turn:
            turn.committed = self.find(stage)
            if turn.committed:
                remove_folder(self.state(stage))
            for leftover in self._folder(stage.name).glob(f".{self._leaf(stage)}.*"):
                shutil.rmtree(leftover, ignore_errors=True)
            yield turn

    @contextmanager
    def _leased(self, stage: Stage, waiting: Waiting) -> Iterator["Turn"]:
        remote, state = self.remote, self.state(stage)
        if remote is None:
            yield Turn()
            return
        with leased(remote.objects, remote.lease_name(self.path(stage)), waiting) as lease:
            remote.refresh_one(self.path(stage))
            turn = Turn(lease)
            if self.find(stage) is None and not remote.restore_state(state):
                turn.trouble = "the stored unfinished work is incomplete: the stage begins again"
            try:
                with repeated(SNAPSHOT_S, partial(turn.snapshot, remote, state)):
                    yield turn
            finally:
                # A commit removes the state: the rest is for the next attempt, on any machine.
                if self.find(stage) is None:
                    turn.snapshot(remote, state)

    def path(self, stage: Stage) -> Path:
        """Path of the committed result of `stage`, which need not exist."""
        return self.result_path(stage.name, stage.subject, stage.key)

    def result_path(self, name: str, subject: str, key: str) -> Path:
        """Path of the result of a stage of this name, subject and key, which need not exist."""
        return Path(f"{self.root}/stages/{name}/{subject}-{key}" if subject else f"{self.root}/stages/{name}/{key}")

    def state(self, stage: Stage) -> Path:
        """Folder that survives attempts of `stage`, until the result is committed."""
        return self._folder(stage.name) / f"{self._leaf(stage)}.state"

    def unfinished(self, stage: Stage) -> Artifact:
        """The result of `stage` before it is there: its folder, and a manifest without files."""
        keys = {name: upstream.key for name, upstream in stage.inputs.items()}
        identity = stage.id, stage.name, stage.subject, stage.key, stage.version, stage.params, keys
        return Artifact(self.path(stage), Manifest(*identity, (), {}, (), 0.0, {}))

    def early_path(self, stage: Stage) -> Path | None:
        """The path that `stage` reads of an unfinished input, None if it does not exist yet, or `stage` reads none."""
        return stage.early.find(self._folder(stage.inputs[stage.early.input].name)) if stage.early else None

    def earlier(self, stage: Stage) -> tuple[Path, ...]:
        """The state folders of the stages that `stage` continues, whether they exist or not."""
        folder, leaf = self._folder(stage.name), self._leaf(stage).removesuffix(stage.key)
        return tuple(folder / f"{leaf}{key}.state" for key in stage.continues)

    def find(self, stage: Stage) -> Artifact | None:
        """The committed result of `stage`, or None. Raises StoreError if a manifest cannot be read."""
        try:
            return self._artifact(self.path(stage))
        except (FileNotFoundError, NotADirectoryError):
            return None

    def read(self, path: Path) -> Artifact:
        """The committed result in folder `path`. Raises StoreError."""
        try:
            return self._artifact(path)
        except OSError as error:
            raise _unreadable(path, error) from error

    def _artifact(self, path: Path) -> Artifact:
        with (path / MANIFEST).open("rb") as file:
            status, content = os.fstat(file.fileno()), file.read()
        state = status.st_size, status.st_mtime_ns
        return Artifact(path, _parse(path, content), self.remote.fetch if self.remote else None, state)

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
        return self.scratch_of(self.path(stage))

    def scratch_of(self, path: Path) -> Path:
        """A fresh folder for files that are to be committed at `path`."""
        scratch = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        scratch.mkdir(parents=True)
        return scratch

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

        If another attempt committed the same key before, its result stays and `scratch` is removed.
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
        return self.commit_as(manifest, scratch)

    def commit_as(self, manifest: Manifest, scratch: Path) -> Artifact:
        """Commit the files of `scratch`, which have the digests of `manifest`, as `commit` does."""
        path, text = self.result_path(manifest.name, manifest.subject, manifest.key), manifest.to_json()
        state = path.with_name(f"{path.name}.state")
        if self.remote:
            stored = self.remote.publish(path, scratch, manifest)
            if stored != text:
                # Another attempt was first: its files are fetched when they are needed.
                shutil.rmtree(scratch)
                scratch, text = self.scratch_of(path), stored
            self.remote.drop_state(state)
        write_durably(scratch / MANIFEST, text)
        rename_durably(scratch, path)
        remove_folder(state)
        return self.read(path)

    def publish_run(self, run_id: str) -> None:
        """Put the files that describe a run into object storage; a folder has them. Raises StoreError."""
        if self.remote:
            self.remote.publish_run(self.root / "runs" / run_id)

    def damaged(self, artifact: Artifact) -> list[str]:
        """Files of a result that are missing, though not released, or have other bytes than its manifest names; every
        byte is read, in object storage if the store is there. Raises StoreError."""
        if self.remote:
            return self.remote.damaged(artifact.manifest)
        entries = [entry for entry in artifact.manifest.files if entry.path not in released(artifact.folder)]
        return [entry.path for entry in entries if not _is_intact(artifact.folder, entry)]

    def drop(self, artifact: Artifact, damaged: Sequence[str]) -> None:
        """Forget a result with these damaged files: the next run builds it again. Raises StoreError."""
        if self.remote:
            self.remote.drop(artifact.folder, [artifact.digests[path] for path in damaged])
        # Under the name of a scratch folder it is not a result, even if a kill leaves part of it.
        discarded = artifact.folder.with_name(f".{artifact.folder.name}.{secrets.token_hex(4)}")
        artifact.folder.rename(discarded)
        shutil.rmtree(discarded)

    def _folder(self, name: str) -> Path:
        return self.root / "stages" / name

    def _leaf(self, stage: Stage) -> str:
        return f"{stage.subject}-{stage.key}" if stage.subject else stage.key


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a committed result. Raises StoreError."""
    try:
        content = (folder / MANIFEST).read_bytes()
    except OSError as error:
        raise _unreadable(folder, error) from error
    return _parse(folder, content)


def _unreadable(folder: Path, error: OSError) -> StoreError:
    return StoreError(f"{folder / MANIFEST}: cannot be read ({error}).")


def _parse(folder: Path, content: bytes) -> Manifest:
    try:
        return Manifest.from_json(content.decode())
    except (ValueError, TypeError, KeyError) as error:
        raise StoreError(
            f"{folder / MANIFEST}: unreadable manifest ({error}). Delete the folder to build it again."
        ) from error


def _nothing() -> None:
    """A lock of the kernel cannot be lost."""


def _is_intact(folder: Path, entry: FileEntry) -> bool:
    file = folder / entry.path
    return file.is_file() and file_digest(file) == entry.sha256


def _entry(file: Path, folder: Path) -> FileEntry:
    path, size, sha256 = file.relative_to(folder).as_posix(), file.stat().st_size, file_digest(file)
    if file.suffix != ".parquet":
        return FileEntry(path, size, sha256)
    return FileEntry(path, size, sha256, pq.read_metadata(file).num_rows, footer_digest(file))


def _resolved(folder: Path) -> Path:
    """The folder that a path leads to, `~` for the home folder. Raises StoreError if no folder can have it."""
    try:
        root = folder.expanduser().resolve()
        with suppress(FileNotFoundError, NotADirectoryError):
            # Python 3.13 resolves a circle of links without an error, and `exists` hides it.
            root.stat()
    except (OSError, RuntimeError, ValueError) as error:
        raise StoreError(f"store {folder}: leads to no folder ({error}). Name another one with --store.") from None
    shown = os.fsencode(root).decode(errors="backslashreplace")
    if shown != str(root):
        raise StoreError(f"store {shown}: its path is not UTF-8, which Ray requires. Rename it, or name another one.")
    return root
