"""The engine's current state as relinkd knows it, with its revisions and its indexes."""

from watchers.mirror.foreign import HEARD, HERE, STORE, ForeignContainers, is_routed
from watchers.mirror.indexes import dns_names
from watchers.mirror.state import Mirror

__all__ = ["HEARD", "HERE", "STORE", "ForeignContainers", "Mirror", "dns_names", "is_routed"]
