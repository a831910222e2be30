"""Parts of a store that nothing needs: each with its size, and removed on its own.

A result is needed if the caller gives its name, unfinished work if its result is needed and not committed. Everything
that a process holds stays: the lock of a stage, a result in the working folder, a running commit.
"""

import json
import secrets
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from infra.store.cache import MANIFEST, empty_unused, is_used
from infra.store.files import folder_bytes, remove_folder
from infra.store.locks import locked, try_lock
from infra.store.objects import Entry
from infra.store.remote import LOCK, Remote
from infra.store.store import Store

STATE = ".state"
TEMPORARY = ".temporary-"
"""Begins the name of a temporary store, a folder at the root."""
ORPHAN_S = 86_400.0
"""Age of content without a manifest that is no longer part of an attempt, by the clock of the service."""
COMMIT_S = 7 * 86_400.0
"""Age of an announced commit that has died."""


@dataclass(frozen=True)
class Garbage:
    """Something to remove: its `kind`, its `name` below the store, its size, and the call that removes it."""

    kind: str
    name: str
    bytes: int
    remove: Callable[[], None]


@contextmanager
def temporary_store(store: Store) -> Iterator[Store]:
    """An empty store in a hidden folder of `store`, where every machine that has `store` finds it. It is removed at the
    end, and is garbage once its process is dead. For a store in object storage the folder is of this machine alone.
    Raises StoreError."""
    store.open()
    folder = store.root / f"{TEMPORARY}{secrets.token_hex(4)}"
    with locked(folder / LOCK, lambda _holder, _seconds: None):
        try:
            yield Store(folder).open()
        finally:
            remove_folder(folder)


def garbage(store: Store, needed: Collection[str]) -> Iterator[Garbage]:
    """Removable files and folders, in an order that, if interrupted by a kill, leaves no result without its files.

    List all before you remove the first: the results are the index of the content.

    Args:
        store: The store, refreshed.
        needed: Results as "name/subject-key".
    """
    for artifact in store.artifacts():
        if _name(artifact.folder) not in needed:
            size = artifact.manifest.bytes
            yield Garbage("result", _name(artifact.folder), size, partial(store.drop, artifact, []))
    yield from _unfinished(store, needed)
    for folder in store.root.glob(f"{TEMPORARY}*"):
        if not _is_held(folder):
            size = folder_bytes(folder)
            yield Garbage("temporary store", folder.name, size, partial(_remove_unheld, folder, folder))
    if store.remote:
        yield from _of_remote(store, store.remote, needed)


def _unfinished(store: Store, needed: Collection[str]) -> Iterator[Garbage]:
    """Folders of stages that are not results, except those of running attempts, and those that a stage stores next to a
    needed result, such as checkpoints."""
    for folder in sorted(store.root.glob("stages/*/*")):
        leaf, is_scratch = folder.name.removesuffix(STATE), folder.name.startswith(".")
        if is_scratch:
            leaf = leaf[1:].rpartition(".")[0]
        elif not folder.name.endswith(STATE):
            beside = f"{folder.parent.name}/{folder.stem}"
            if (folder / MANIFEST).exists() or beside in needed:
                continue
        elif f"{folder.parent.name}/{leaf}" in needed and not (folder.with_name(leaf) / MANIFEST).exists():
            continue
        state = folder.with_name(leaf + STATE)
        if not _is_held(state):
            kind = "scratch of a dead attempt" if is_scratch else "unfinished work"
            yield Garbage(kind, _name(folder), folder_bytes(folder), partial(_remove_unheld, folder, state))


def _remove_unheld(folder: Path, state: Path) -> None:
    """Remove a folder, unless an attempt has begun meanwhile."""
    with ExitStack() as opened:
        try:
            lock = opened.enter_context((state / LOCK).open("r+b"))
        except FileNotFoundError:
            pass
        else:
            if not try_lock(lock, state / LOCK):
                return
        remove_folder(folder)


def _is_held(state: Path) -> bool:
    try:
        with (state / LOCK).open("r+b") as lock:
            return not try_lock(lock, state / LOCK)
    except FileNotFoundError:
        return False


def _of_remote(store: Store, remote: Remote, needed: Collection[str]) -> Iterator[Garbage]:
    manifests = {_result(entry, "manifests"): entry for entry in remote.objects.entries("manifests")}
    yield from _stored_states(remote, needed, manifests)
    yield from _contents(store, remote, needed)
    for folder in sorted(path.parent for path in remote.root.glob(f"stages/*/[!.]*/{MANIFEST}")):
        size = folder_bytes(folder) - (folder / MANIFEST).stat().st_size
        if size and _name(folder) in needed and not is_used(folder / MANIFEST):
            yield Garbage("cached files", _name(folder), size, partial(_uncache, folder / MANIFEST))


def _stored_states(remote: Remote, needed: Collection[str], manifests: Mapping[str, Entry]) -> Iterator[Garbage]:
    """Unfinished work in object storage: listings first, and each with the content below its name."""
    entries: dict[str, list[Entry]] = {}
    for entry in remote.objects.entries("states"):
        name = "/".join(entry.name.split("/")[1:3]).removesuffix(".json")
        entries.setdefault(name, []).append(entry)
    for name, parts in sorted(entries.items()):
        if name not in needed or name in manifests:
            names = sorted((part.name for part in parts), key=lambda each: not each.endswith(".json"))
            size = sum(part.bytes for part in parts)
            yield Garbage("unfinished work", f"states/{name}", size, partial(remote.objects.delete, *names))


def _contents(store: Store, remote: Remote, needed: Collection[str]) -> Iterator[Garbage]:
    """Content that is old and that neither a needed manifest nor a commit that goes on names."""
    now = remote.service_time()
    used: set[str] = set()
    for entry in remote.objects.entries("commits"):
        if now - entry.changed < COMMIT_S:
            used.update(json.loads(remote.objects.get(entry.name)))
        else:
            yield Garbage(
                "commit of a dead attempt", entry.name, entry.bytes, partial(remote.objects.delete, entry.name)
            )
    removed: set[str] = set()
    for artifact in store.artifacts():
        (used if _name(artifact.folder) in needed else removed).update(artifact.digests.values())
    for entry in remote.objects.entries("files"):
        sha256 = entry.name.rpartition("/")[2]
        # Content of a result that is removed here was no attempt's: it may be young.
        if sha256 not in used and (sha256 in removed or now - entry.changed > ORPHAN_S):
            yield Garbage("content", entry.name, entry.bytes, partial(remote.objects.delete, entry.name))


def _uncache(manifest: Path) -> None:
    empty_unused(manifest)


def _result(entry: Entry, kind: str) -> str:
    return entry.name.removeprefix(f"{kind}/").removesuffix(".json")


def _name(folder: Path) -> str:
    return f"{folder.parent.name}/{folder.name}"
