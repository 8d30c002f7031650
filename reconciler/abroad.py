"""Which networks are asked about other hosts: those over which a recipient here may link there."""

from collections.abc import Callable
from collections.abc import Set as AbstractSet
from typing import Protocol

from reconciler.contract import Change
from reconciler.links.graph import LinkGraph
from reconciler.links.sources import owner_of
from watchers.mirror import Mirror
from watchers.model import SWARM

_NONE: frozenset[str] = frozenset()


class Polls(Protocol):
    """Asks what is wanted."""

    def want(self, networks: AbstractSet[str], *, by_name: bool) -> None:
        """Ask for these networks, and for the names of hosts if `by_name`."""


class Abroad:
    """Keeps the networks of Swarm scope on which recipients declare links to other hosts."""

    def __init__(self, mirror: Mirror, graph: LinkGraph, polls: Callable[[], Polls | None]) -> None:
        self._mirror = mirror
        self._graph = graph
        self._polls = polls
        self._networks: dict[str, frozenset[str]] = {}
        self._by_name = False

    def changed(self, change: Change) -> None:
        """Have other networks asked if a change of recipients wants that."""
        by_name = bool(self._graph.far)
        if not by_name and not self._networks and not self._by_name:
            return
        differs = by_name != self._by_name
        for recipient in change.recipients:
            before = self._networks.pop(recipient, _NONE)
            if now := self._networks_of(recipient):
                self._networks[recipient] = now
            differs |= before != now
        self._by_name = by_name
        if differs and (polls := self._polls()) is not None:
            polls.want(_NONE.union(*self._networks.values()), by_name=by_name)

    def _networks_of(self, recipient: str) -> frozenset[str]:
        if all(each.host is None for each in self._graph.declared(recipient)):
            return _NONE
        container = self._mirror.containers.get(recipient)
        owner = owner_of(container, self._mirror) if container is not None else None
        if owner is None:
            return _NONE
        on = self._mirror.networks_of(owner)
        return frozenset(network.id for network in on if network.scope == SWARM)
