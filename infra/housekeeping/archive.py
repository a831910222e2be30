"""A run as one archive: its results with their manifests, its lock and its event log.

    archive.json                              format, run id, names of the results in order
    stages/<name>/<result>/manifest.json      of each result, then its files in the order of the manifest
    runs/<run id>/<file>                      lock.json, events.jsonl

A tar file without compression, since results are compressed already; two exports of one run have the same bytes. An
import reads from front to end, takes nothing but the files that a manifest names, and checks each digest and key
before it commits: an archive is as untrusted as any download.
"""

import hashlib
import json
import re
import secrets
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO

from arctic_errors import UserError
from infra.artifact import Artifact, FileEntry, Manifest, released
from infra.events import EVENTS
from infra.housekeeping.roots import result_name, run_records
from infra.stage import KEY_LENGTH, digest
from infra.store import MANIFEST, Store, rename_durably
from infra.store.files import file_digest, replace_durably
from infra.store.locks import Waiting, locked
from infra.store.remote import LOCK

INDEX = "archive.json"
FORMAT = 1
PIECE_BYTES = 2**20
MAX_TEXT_BYTES = 2**30
"""Of a manifest, lock or event log, which are read as a whole."""
SAFE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


class ArchiveError(UserError, ValueError):
    """An archive cannot be written or taken: the message names the member and the remedy."""


@dataclass(frozen=True)
class Exported:
    """Results in an archive, its size, and the results of the run that were not there."""

    results: tuple[str, ...]
    bytes: int
    missing: tuple[str, ...]


@dataclass(frozen=True)
class Imported:
    """The run of an archive; the results that were committed, and those that the store already held."""

    run_id: str
    committed: tuple[str, ...]
    present: tuple[str, ...]


def export_run(store: Store, run_id: str, file: Path) -> Exported:
    """Write a run and the results that it uses to `file`, which appears when it is whole.

    Raises:
        ArchiveError: The store has no such run, or a file of it is damaged.
    """
    store.refresh()
    names = next((record.results for record in run_records(store) if record.run_id == run_id), None)
    if names is None:
        ids = ", ".join(record.run_id for record in run_records(store)) or "none"
        raise ArchiveError(f"run {run_id}: not in store {store.name}. It has {ids}.")
    artifacts = {name: artifact for artifact in store.artifacts() if (name := _name_of(artifact.manifest)) in names}
    partial = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    try:
        with tarfile.open(partial, "w", format=tarfile.PAX_FORMAT) as archive:
            index = {"format": FORMAT, "run_id": run_id, "results": sorted(artifacts)}
            _add_text(archive, INDEX, json.dumps(index, indent=1).encode())
            for name in sorted(artifacts):
                _add_result(archive, artifacts[name])
            for path, content in sorted(_run_files(store, run_id)):
                _add_text(archive, f"runs/{run_id}/{path}", content)
        replace_durably(partial, file)
    finally:
        partial.unlink(missing_ok=True)
    return Exported(tuple(sorted(artifacts)), file.stat().st_size, tuple(sorted(names - artifacts.keys())))


def import_run(store: Store, file: Path, waiting: Waiting) -> Imported:
    """Commit the results of an archive to `store`, each after its digests were checked, and add its run.

    Results that the store has stay as they are. After an error or a kill, committed results stay, and the next call
    takes the rest.

    Args:
        store: An opened store.
        file: The archive.
        waiting: Called while another process builds a result of the archive, or prunes the store.

    Raises:
        ArchiveError: The archive is malformed, or content differs from its digest.
    """
    committed: dict[str, None] = {}
    while True:
        with _opened(file) as archive:
            run_id, names = _index(archive)
            committed |= {name: None for name in names if _take_result(archive, name, store, waiting)}
            _take_run(archive, run_id, store)
        # A prune that began before the store had the run removes its results. The next one leaves them.
        with store.pruning_blocked(waiting):
            store.refresh()
        if all((store.root / "stages" / name / MANIFEST).exists() for name in names):
            return Imported(run_id, tuple(committed), tuple(name for name in names if name not in committed))


def _add_result(archive: tarfile.TarFile, artifact: Artifact) -> None:
    folder = f"stages/{_name_of(artifact.manifest)}"
    _add_text(archive, f"{folder}/{MANIFEST}", artifact.manifest.to_json().encode())
    path = artifact.path
    for name, reason in released(path).items():
        raise ArchiveError(
            f"{path / name}: {reason}, and an archive has whole results only. Remove the result with arctic verify "
            "--drop, and run its recipe again."
        )
    for entry in artifact.manifest.files:
        if not (path / entry.path).is_file() or file_digest(path / entry.path) != entry.sha256:
            raise ArchiveError(
                f"{path / entry.path}: damaged. Remove the result with arctic verify --drop, and run its recipe again."
            )
        with (path / entry.path).open("rb") as content:
            archive.addfile(_header(f"{folder}/{entry.path}", entry.bytes), content)


def _add_text(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    archive.addfile(_header(name, len(content)), BytesIO(content))


def _header(name: str, size: int) -> tarfile.TarInfo:
    """Nothing of the machine or the hour: time, owner and mode are the same everywhere."""
    header = tarfile.TarInfo(name)
    header.size = size
    return header


def _run_files(store: Store, run_id: str) -> Iterator[tuple[str, bytes]]:
    folder = store.root / "runs" / run_id
    if folder.is_dir():
        for path in folder.glob("*.json*"):
            yield path.name, path.read_bytes()
    elif store.remote:
        for entry in store.remote.objects.entries(f"runs/{run_id}"):
            yield entry.name.rpartition("/")[2], store.remote.objects.get(entry.name)


@contextmanager
def _opened(file: Path) -> Iterator[tarfile.TarFile]:
    try:
        # "r:" takes no compression, so that a small file cannot unfold to a huge one.
        with tarfile.open(file, "r:") as archive:
            yield archive
    except tarfile.TarError as error:
        raise ArchiveError(f"{file}: not a whole archive ({error}). Copy it again.") from None
    except FileNotFoundError:
        raise ArchiveError(f"{file}: no such archive.") from None


def _index(archive: tarfile.TarFile) -> tuple[str, list[str]]:
    """Run id and names of the results, in order."""
    try:
        index = json.loads(_text(archive, _next(archive, INDEX)))
        format_, run_id, results = index["format"], index["run_id"], index["results"]
    except (ValueError, KeyError, TypeError) as error:
        raise ArchiveError(f"{INDEX}: not the index of an archive ({error}). Export the run again.") from None
    if format_ != FORMAT:
        raise ArchiveError(f"{INDEX}: format {format_}, this version reads {FORMAT}. Update arctic.")
    return _safe(run_id, INDEX), results


def _next(archive: tarfile.TarFile, name: str) -> tarfile.TarInfo:
    """The next member, which is a plain file with this name."""
    member = archive.next()
    if member is None:
        raise ArchiveError(f"the archive ends before {name}. Copy it again.")
    if not _is_plain(member) or member.name != name:
        raise ArchiveError(f"{member.name}: expected the plain file {name}. Export the run again.")
    return member


def _is_plain(member: tarfile.TarInfo) -> bool:
    """Whether it has as many bytes in the archive as it says: one with holes may unfold to any size."""
    return member.isreg() and not member.issparse()


def _text(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    if member.size > MAX_TEXT_BYTES:
        raise ArchiveError(f"{member.name}: {member.size:,} bytes; at most {MAX_TEXT_BYTES:,} are read.")
    content = _content(archive, member).read()
    if len(content) != member.size:
        raise ArchiveError(f"{member.name}: cut short. Copy the archive again.")
    return content


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    content = archive.extractfile(member)
    assert content is not None, "a plain file has content"
    return content


def _safe(name: object, member: str) -> str:
    """A name that stays below its folder."""
    if not isinstance(name, str) or not SAFE_NAME.fullmatch(name):
        raise ArchiveError(f"{member}: {name!r} is no name of a run, stage or file.")
    return name


def _take_result(archive: tarfile.TarFile, name: str, store: Store, waiting: Waiting) -> bool:
    """Commit the next result of an archive; False if the store already holds it, or another process built it while
    this one waited."""
    member = _next(archive, f"stages/{name}/{MANIFEST}")
    manifest = _manifest(_text(archive, member), member.name)
    if _name_of(manifest) != name:
        raise ArchiveError(f"{member.name}: the manifest of {_name_of(manifest)}. Export the run again.")
    path = store.result_path(manifest.name, manifest.subject, manifest.key)
    scratch = store.scratch_of(path)
    try:
        for entry in manifest.files:
            _take_file(archive, f"stages/{name}/{entry.path}", entry, scratch)
        if (path / MANIFEST).exists():
            return False
        # A commit removes the state of the stage, which a running attempt needs.
        with locked(path.with_name(f"{path.name}.state") / LOCK, waiting):
            is_new = not (path / MANIFEST).exists()
            store.commit_as(manifest, scratch)
        return is_new
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _manifest(text: bytes, member: str) -> Manifest:
    """A manifest whose digest and key are right, and whose names stay inside their folders."""
    try:
        manifest = Manifest.from_json(text.decode())
        identity = {
            "name": manifest.name,
            "subject": manifest.subject,
            "version": manifest.version,
            "params": manifest.params,
            "inputs": manifest.inputs,
        }
        key = digest(identity)[:KEY_LENGTH]
    except (ValueError, TypeError, KeyError) as error:
        raise ArchiveError(f"{member}: not a manifest as it was committed ({error}). Copy the archive again.") from None
    if manifest.key != key:
        raise ArchiveError(f"{member}: its key is {manifest.key}, its parameters and inputs have {key}.")
    for part in (manifest.name, manifest.subject or manifest.name):
        _safe(part, member)
    for entry in manifest.files:
        parts = entry.path.split("/")
        if entry.path == MANIFEST or "\0" in entry.path or {"", ".", ".."} & set(parts):
            raise ArchiveError(f"{member}: {entry.path!r} is no path of a result's file.")
    return manifest


def _take_file(archive: tarfile.TarFile, name: str, entry: FileEntry, folder: Path) -> None:
    member = _next(archive, name)
    if member.size != entry.bytes:
        raise ArchiveError(f"{name}: {member.size:,} bytes instead of {entry.bytes:,}. Copy the archive again.")
    target = folder / entry.path
    target.parent.mkdir(parents=True, exist_ok=True)
    hashed = hashlib.sha256()
    with target.open("xb") as file:
        content = _content(archive, member)
        while piece := content.read(PIECE_BYTES):
            hashed.update(piece)
            file.write(piece)
    if hashed.hexdigest() != entry.sha256:
        raise ArchiveError(f"{name}: damaged, its bytes have another digest. Copy the archive again.")


def _take_run(archive: tarfile.TarFile, run_id: str, store: Store) -> None:
    """Add the event log and lock of the run, which come after its results; a run that the store has stays as it is."""
    folder = store.root / "runs" / run_id
    scratch = folder.with_name(f".{run_id}.{secrets.token_hex(4)}")
    scratch.mkdir()
    try:
        while member := archive.next():
            file = _safe(member.name.removeprefix(f"runs/{run_id}/"), member.name)
            if not _is_plain(member):
                raise ArchiveError(f"{member.name}: not a plain file. Export the run again.")
            (scratch / file).write_bytes(_text(archive, member))
        _require_log(scratch / EVENTS, run_id)
        if not folder.exists():
            rename_durably(scratch, folder)
            store.publish_run(run_id)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _require_log(file: Path, run_id: str) -> None:
    try:
        events = [json.loads(line) for line in file.read_bytes().splitlines()]
        logged = events[0]["run_id"] if events[0]["event"] == "run_started" else None
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ArchiveError(f"{EVENTS}: not the event log of a run ({error}). Export the run again.") from None
    if logged != run_id:
        raise ArchiveError(f"{EVENTS}: the log of run {logged}, not of {run_id}. Export the run again.")


def _name_of(manifest: Manifest) -> str:
    return result_name(manifest.name, manifest.subject, manifest.key)
