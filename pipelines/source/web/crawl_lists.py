"""Lists of a crawl's files, downloaded once and cached for the user, so that a plan needs no network."""

import gzip
import hashlib
import os
import secrets
import zlib
from pathlib import Path

from infra.store.files import replace_durably
from pipelines.source.errors import InputError
from pipelines.source.io import http_client
from pipelines.source.io.http_client import HttpError


def listed_files(url: str) -> tuple[list[str], str]:
    """The names in the gzipped list at `url`, and the list's sha256. Raises InputError."""
    cached = cache_path(url)
    if not cached.is_file():
        _fetch(url, cached)
    content = cached.read_bytes()
    try:
        names = gzip.decompress(content).decode().split()
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        cached.unlink()
        raise InputError(f"crawl: {url} is no gzipped list of files ({error}). Correct crawl or base_url.") from None
    if not names:
        raise InputError(f"crawl: {url} names no file. Choose another crawl or subset.")
    return names, hashlib.sha256(content).hexdigest()


def cache_path(url: str) -> Path:
    """Cache path of the list at `url`: in `arctic-pretraining` of XDG_CACHE_HOME, else of ~/.cache."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "arctic-pretraining" / f"{hashlib.sha256(url.encode()).hexdigest()[:16]}-{url.rpartition('/')[2]}"


def _fetch(url: str, target: Path) -> None:
    partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        http_client.PLANNING_CLIENT.download(url, partial)
        replace_durably(partial, target)
    except HttpError as error:
        raise InputError(
            f"crawl: {error}. Correct crawl or base_url, or plan once on a machine that reaches the host: "
            "the list is kept."
        ) from None
    except OSError as error:
        raise InputError(
            f"crawl: {target} cannot be written ({error.strerror}). Set XDG_CACHE_HOME to a folder that can."
        ) from None
    finally:
        partial.unlink(missing_ok=True)
