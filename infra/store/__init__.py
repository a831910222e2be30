"""Results under their keys, each complete or absent, in a folder that several runs share."""

from infra.store.cache import MANIFEST
from infra.store.errors import StoreError, disk_full
from infra.store.files import file_digest, footer_digest, link_or_copy, rename_durably, write_durably
from infra.store.store import Store, Turn

__all__ = [
    "MANIFEST",
    "Store",
    "StoreError",
    "Turn",
    "disk_full",
    "file_digest",
    "footer_digest",
    "link_or_copy",
    "rename_durably",
    "write_durably",
]
