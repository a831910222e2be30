"""Leases in object storage: on stages, to save double work, and on pruning, to protect the content of commits.

The holder rewrites its lease every few seconds. A waiting process watches the lease's version: one that stays the same
for longer than `STALE_S` of the watcher's own clock has no holder any more and is taken over, by a write that succeeds
only if the version is still the same. No clocks of two machines are compared. A holder that reads another's lease
instead of its own stops its work.
"""

import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from infra.store.errors import StoreError
from infra.store.locks import Waiting
from infra.store.objects import ChangedObjectError, ExistsError, MissingObjectError, ObjectError, Objects, Version

BEAT_S = 10.0
STALE_S = 60.0
LOOK_S = 1.0


class LeaseLostError(StoreError):
    """Another run took the stage over, because this one had not renewed its lease."""


@dataclass
class Lease:
    """A lease that this process holds, as it wrote it last."""

    objects: Objects
    name: str
    content: bytes
    version: Version
    lost: str = ""

    def require(self) -> None:
        """Raise LeaseLostError if the lease is lost."""
        if self.lost:
            raise LeaseLostError(self.lost)

    def renew(self) -> None:
        """Rewrite the lease. A service that does not answer may answer again before the lease is stale."""
        if self.lost:
            return
        before, self.content = self.content, _content()
        try:
            self.version = self.objects.replace(self.name, self.content, self.version)
        except ObjectError:
            self._look(before)

    def release(self) -> None:
        """Remove the lease, if it is still this process's own. Its loss may not be known yet."""
        self.renew()
        if not self.lost:
            self.objects.delete(self.name)

    def _look(self, before: bytes) -> None:
        """Whose lease is stored now: the answer to a write of our own may have been lost on its way."""
        try:
            content, entry = self.objects.read(self.name)
        except MissingObjectError:
            self.lost = f"{self.name}: the lease was removed while this run built the stage."
        except ObjectError:
            self.content = before
        else:
            if content in (before, self.content):
                self.content, self.version = content, entry.version
            else:
                self.lost = f"{self.name}: {_holder_of(content)} took the stage over. Its result will be used."


@contextmanager
def leased(objects: Objects, name: str, waiting: Waiting) -> Iterator[Lease]:
    """Hold the lease `name`, and wait while another holds it. Raises ObjectError."""
    lease = _acquired(objects, name, waiting)
    try:
        # Renewing ends before the lease is released: a late renewal would create it again.
        with repeated(BEAT_S, lease.renew):
            yield lease
    finally:
        lease.release()


@contextmanager
def repeated(period_s: float, work: Callable[[], None]) -> Iterator[None]:
    """Call `work` in a separate thread every `period_s` seconds."""
    ended = threading.Event()

    def follow() -> None:
        while not ended.wait(period_s):
            work()

    thread = threading.Thread(target=follow, name="store", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _acquired(objects: Objects, name: str, waiting: Waiting) -> Lease:
    started = since = time.monotonic()
    ours, seen = _content(), None
    while True:
        try:
            return Lease(objects, name, ours, objects.create(name, ours))
        except ExistsError:
            pass
        try:
            content, entry = objects.read(name)
            now = time.monotonic()
            if content == ours:
                return Lease(objects, name, ours, entry.version)
            if entry.version != seen:
                seen, since = entry.version, now
            elif now - since > STALE_S:
                return Lease(objects, name, ours, objects.replace(name, ours, entry.version))
        except (ChangedObjectError, MissingObjectError):
            continue
        waiting(_holder_of(content), now - started)
        time.sleep(LOOK_S)


def _content() -> bytes:
    # The nonce gives every renewal a different ETag, and distinguishes our own writes from others'.
    holder = f"process {os.getpid()} on {socket.gethostname()}"
    return json.dumps({"holder": holder, "nonce": secrets.token_hex(8)}).encode()


def _holder_of(content: bytes) -> str:
    holder: str = json.loads(content)["holder"]
    return holder
