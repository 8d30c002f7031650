"""A small client of etcd. It reads; what writes is in the reconciler.

It speaks etcd's own JSON gateway over the HTTP client that is there anyway: docs/fleet.md has what
was measured and tried.
"""

from watchers.etcd.access import Access
from watchers.etcd.client import Store, certificates, open_store
from watchers.etcd.errors import (
    CompactedError,
    LeaseGoneError,
    StoreError,
    StoreGoneError,
    StoreRefusedError,
)

__all__ = [
    "Access",
    "CompactedError",
    "LeaseGoneError",
    "Store",
    "StoreError",
    "StoreGoneError",
    "StoreRefusedError",
    "certificates",
    "open_store",
]
