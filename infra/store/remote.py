"""Results in object storage, mirrored in a working folder on this machine.

<prefix>/manifests/<name>/<result>.json   put last, if absent: with it the result is committed
<prefix>/files/<sha256>                   content of results, by its digest: never changed
<prefix>/states/<name>/<result>.json      files of an unfinished stage by path, as of the last snapshot
<prefix>/states/<name>/<result>/<sha256>  their content, as long as a snapshot lists it
<prefix>/commits/<name>/<result>.<random> digests of a commit that goes on: `arctic prune` leaves them
<prefix>/leases/<name>/<result>.json      who builds the stage now: saves double work only
<prefix>/leases/pruning.json              who prunes, or names the results that its run uses
<prefix>/runs/<run id>/                   lock.json and events.jsonl of a run that ended
"""

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from infra.artifact import FileEntry, Manifest
from infra.host.surroundings import home_folder, private_folder
from infra.store.cache import MANIFEST, make_room, use
from infra.store.files import file_digest, remove_folder, replace_durably, write_durably
from infra.store.lease import Lease, leased
from infra.store.locks import Waiting
from infra.store.objects import DamagedObjectError, Entry, ExistsError, MissingObjectError, Objects

LOCK = "lock"
RESTORING = ".restoring"
"""In a state that is being restored: a kill may have left part of it."""
WORK_VARIABLE = "ARCTIC_WORK"
TRANSFERS = 16
"""Files that one process sends or fetches at a time."""
COPY_LIMIT_BYTES = 5 * 10**9
"""Amazon S3 copies no larger object in one request (CopyObject)."""
PRUNING_LEASE = "leases/pruning.json"

Item = TypeVar("Item")


@dataclass
class Snapshots:
    """The snapshots that this process made of one stage's state.

    Attributes:
        digests: Size, time of change and digest of each file that was hashed.
        stored: Digests that the last snapshot lists.
    """

    digests: dict[Path, tuple[tuple[int, int], str]] = field(default_factory=dict)
    stored: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Remote:
    """The stored side of a store whose working folder is `root`."""

    objects: Objects
    root: Path

    @classmethod
    def at(cls, address: str) -> "Remote":
        """The store at an address; its working folder is below ARCTIC_WORK, by default in this user's cache. Raises
        AddressError."""
        objects = Objects(address)
        digest = hashlib.sha256(address.encode()).hexdigest()[:12]
        return cls(objects, (_work_folder() / f"{objects.bucket}-{digest}").resolve())

    def probe(self) -> None:
        """Write and remove an object. Raises ObjectError: no such bucket, no permission, nobody answers."""
        name = f"probes/{secrets.token_hex(4)}"
        self.objects.put(name, b"")
        self.objects.delete(name)

    def service_time(self) -> float:
        """Unix seconds by the clock that stamps objects. Raises ObjectError."""
        name = f"probes/{secrets.token_hex(4)}"
        self.objects.put(name, b"")
        entry = self.objects.head(name)
        self.objects.delete(name)
        return entry.changed if entry else 0.0

    def refresh(self) -> None:
        """Synchronize the manifests in the working folder with those that are stored. Raises ObjectError."""
        stored = {entry.name.removesuffix(".json"): entry for entry in self.objects.entries("manifests")}
        stored = {name.removeprefix("manifests/"): entry for name, entry in stored.items()}
        local = {
            f"{path.parent.parent.name}/{path.parent.name}" for path in self.root.glob(f"stages/*/[!.]*/{MANIFEST}")
        }
        # A listing may come late: only the object itself tells that a result is gone.
        _in_parallel(lambda name: self.refresh_one(self.root / "stages" / name), local - stored.keys())
        _in_parallel(lambda name: self._take_manifest(stored[name]), stored.keys() - local)

    def refresh_one(self, folder: Path) -> None:
        """As `refresh`, of the result that belongs at `folder` of the working folder."""
        entry = self.objects.head(self._name("manifests", folder))
        if entry is None:
            remove_folder(folder)
        elif not (folder / MANIFEST).exists():
            self._take_manifest(entry)

    def publish(self, folder: Path, scratch: Path, manifest: Manifest) -> str:
        """Store the files of `scratch`, then their manifest as that of `folder`, if there is none yet.

        Returns the manifest that is stored now: this one, or that of another attempt that was first.
        """
        files = {scratch / entry.path: entry.sha256 for entry in manifest.files}
        text, name = manifest.to_json(), self._name("manifests", folder)
        with self._announced(folder, files.values()):
            self._store(files, folder)
            try:
                self.objects.create(name, text.encode())
            except ExistsError:
                return self.objects.get(name).decode()
        return text

    def pruning_blocked(self, waiting: Waiting) -> AbstractContextManager[Lease]:
        """Hold the lease for pruning, so that nobody prunes. Raises ObjectError."""
        return leased(self.objects, PRUNING_LEASE, waiting)

    def fetch(self, folder: Path, manifest: Manifest) -> None:
        """Fetch the files of a committed result that are missing in the working folder, and keep them there as long
        as this process lives. Raises ObjectError, also if a stored file has other bytes than its digest names."""
        use(folder)
        missing = [entry for entry in manifest.files if _size(folder / entry.path) != entry.bytes]
        if not missing:
            return
        make_room(self.root, sum(entry.bytes for entry in missing))
        _in_parallel(lambda entry: self._fetch(f"files/{entry.sha256}", entry.sha256, folder / entry.path), missing)

    def damaged(self, manifest: Manifest) -> list[str]:
        """Files of a result whose stored content is missing or has another digest. Raises ObjectError."""
        found: list[str] = []

        def check(entry: FileEntry) -> None:
            if self.objects.sha256(f"files/{entry.sha256}") != entry.sha256:
                found.append(entry.path)

        _in_parallel(check, manifest.files)
        return sorted(found)

    def drop(self, folder: Path, digests: Iterable[str]) -> None:
        """Remove the manifest of the result at `folder`, then damaged contents: the rest is not sent again."""
        self.objects.delete(self._name("manifests", folder), *(f"files/{sha256}" for sha256 in digests))

    def save_state(self, state: Path, snapshots: Snapshots) -> None:
        """Store the files of a stage's state, list them, and remove content that only earlier snapshots listed.

        Nothing happens if a file changes meanwhile: the last snapshot stays, and the next may succeed. Raises
        ObjectError.
        """
        digests = _settled(state, snapshots)
        if digests is None:
            return
        folder, needed = self._state_folder(state), frozenset(digests.values())
        changed: list[Path] = []

        def store(file: Path) -> None:
            name = f"{folder}/{digests[file]}"
            if self._put_new(name, file) and _stamp(file) != snapshots.digests[file][0]:
                # It was written while it was sent: the object may have other bytes than those of its name.
                self.objects.delete(name)
                changed.append(file)

        _in_parallel(store, digests)
        if changed:
            return
        listing = {file.relative_to(state).as_posix(): sha256 for file, sha256 in digests.items()}
        self.objects.put(f"{folder}.json", json.dumps(listing, sort_keys=True).encode())
        self.objects.delete(*(f"{folder}/{sha256}" for sha256 in snapshots.stored - needed))
        snapshots.stored = needed

    def restore_state(self, state: Path) -> bool:
        """Fetch the stored state of a stage that this working folder has none of; False if content that the last
        snapshot lists is missing or damaged, so that nothing is restored. Raises ObjectError."""
        marker = state / RESTORING
        if marker.exists():
            _empty(state)
        elif any(file.name != LOCK for file in state.iterdir()):
            return True
        folder = self._state_folder(state)
        try:
            listing: Mapping[str, str] = json.loads(self.objects.get(f"{folder}.json"))
        except MissingObjectError:
            marker.unlink(missing_ok=True)
            return True
        marker.touch()
        try:
            _in_parallel(lambda path: self._fetch(f"{folder}/{listing[path]}", listing[path], state / path), listing)
        except (MissingObjectError, DamagedObjectError):
            # Content that is there is never sent again, so the damaged must go.
            self.drop_state(state)
            _empty(state)
            marker.unlink()
            return False
        marker.unlink()
        return True

    def drop_state(self, state: Path) -> None:
        """Remove the stored state of a stage, its listing first. Raises ObjectError."""
        folder = self._state_folder(state)
        self.objects.delete(f"{folder}.json", *(entry.name for entry in self.objects.entries(folder)))

    def publish_run(self, folder: Path) -> None:
        """Store the files that describe a run."""
        for file in sorted(folder.glob("*.json*")):
            self.objects.put(f"runs/{folder.name}/{file.name}", file.read_bytes())

    def lease_name(self, folder: Path) -> str:
        """Name of the lease of the stage whose result belongs at `folder`."""
        return self._name("leases", folder)

    def _take_manifest(self, entry: Entry) -> None:
        content = self.objects.get(entry.name)
        folder = self.root / "stages" / entry.name.removeprefix("manifests/").removesuffix(".json")
        folder.mkdir(parents=True, exist_ok=True)
        write_durably(folder / MANIFEST, content)
        # `Artifact.made` identifies the latest of several results.
        os.utime(folder, (entry.changed, entry.changed))

    @contextmanager
    def _announced(self, folder: Path, digests: Collection[str]) -> Iterator[None]:
        """Keep content with these digests from being pruned before a manifest names it.

        The pruner takes its lease and then checks for announcements; a commit announces itself and then waits for the
        lease. So one of the two sees the other.
        """
        name = f"{self._name('commits', folder).removesuffix('.json')}.{secrets.token_hex(4)}"
        self.objects.put(name, json.dumps(sorted(digests)).encode())
        try:
            with self.pruning_blocked(lambda _holder, _seconds: None):
                pass
            yield
        finally:
            self.objects.delete(name)

    def _store(self, digests: Mapping[Path, str], folder: Path) -> None:
        """Store files of the result at `folder` under their digests; neither those that are stored already nor those
        that a snapshot of the state holds are sent again."""
        state = self._name("states", folder).removesuffix(".json")
        in_state = {entry.name.rpartition("/")[2] for entry in self.objects.entries(state)}

        def store(file: Path) -> None:
            sha256 = digests[file]
            if sha256 in in_state and file.stat().st_size <= COPY_LIMIT_BYTES:
                self.objects.copy(f"{state}/{sha256}", f"files/{sha256}")
            else:
                self._put_new(f"files/{sha256}", file)

        _in_parallel(store, digests)

    def _put_new(self, name: str, file: Path) -> bool:
        """Whether the object was not there, and is written now."""
        if self.objects.head(name) is not None:
            return False
        self.objects.put(name, file)
        return True

    def _fetch(self, name: str, sha256: str, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
        try:
            self.objects.download(name, partial)
            if file_digest(partial) != sha256:
                raise DamagedObjectError(
                    f"{self.objects.place}/{name}: damaged, its bytes have another digest. Remove the "
                    "results that name it with arctic verify --drop, then run the same command again."
                )
            replace_durably(partial, file)
        finally:
            partial.unlink(missing_ok=True)

    def _state_folder(self, state: Path) -> str:
        return self._name("states", state).removesuffix(".json")

    def _name(self, kind: str, folder: Path) -> str:
        return f"{kind}/{folder.parent.name}/{folder.name.removesuffix('.state')}.json"


def _settled(state: Path, snapshots: Snapshots) -> dict[Path, str] | None:
    """Digest of each file below `state`; None if one changed since the first was read, so that no file is taken without
    those that it completes."""
    stamps = {file: _stamp(file) for file in _files(state)}
    known = snapshots.digests
    for file, stamp in stamps.items():
        if stamp and known.get(file, ((), ""))[0] != stamp:
            known[file] = stamp, _digest(file)
    if {file: _stamp(file) for file in _files(state)} != stamps:
        return None
    return {file: known[file][1] for file in stamps}


def _empty(state: Path) -> None:
    """Remove all but the lock and the marker."""
    for path in state.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name not in (LOCK, RESTORING):
            path.unlink()


def _digest(file: Path) -> str:
    try:
        return file_digest(file)
    except FileNotFoundError:
        return ""


def _files(state: Path) -> list[Path]:
    inside = ((path, path.relative_to(state).parts) for path in state.rglob("*"))
    return [
        path
        for path, parts in inside
        if parts != (LOCK,) and not any(part.startswith(".") for part in parts) and path.is_file()
    ]


def _stamp(file: Path) -> tuple[int, int] | None:
    try:
        status = file.stat()
    except FileNotFoundError:
        return None
    return status.st_size, status.st_mtime_ns


def _size(file: Path) -> int:
    stamp = _stamp(file)
    return stamp[0] if stamp else -1


def _work_folder() -> Path:
    if folder := os.environ.get(WORK_VARIABLE) or os.environ.get("XDG_CACHE_HOME"):
        return Path(folder) / "arctic"
    home = home_folder()
    return (home / ".cache" if home else private_folder()) / "arctic"


def _in_parallel(work: Callable[[Item], None], items: Iterable[Item]) -> None:
    """Do `work` for each item; the first error is raised, after which nothing new is begun."""
    with ThreadPoolExecutor(TRANSFERS, "objects") as threads:
        running = [threads.submit(work, item) for item in items]
        try:
            for each in running:
                each.result()
        except BaseException:
            threads.shutdown(cancel_futures=True)
            raise
