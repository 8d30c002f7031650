"""Indexes over containers and endpoints, so that an event costs only what it concerns."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, TypeVar

from watchers.model import Container, Endpoint

K = TypeVar("K")

_FEW = 8
"""IDs that a key has as a tuple; more are a set."""

_NO_ENDPOINTS: Mapping[str, Endpoint] = {}


class IdIndex(dict[K, "tuple[str, ...] | set[str]"]):
    """IDs by key. Most keys have few, which are a tuple: a set of five has 728 bytes."""

    def ids(self, key: K) -> AbstractSet[str]:
        """Return the IDs with a key; not for changing."""
        found = self.get(key, ())
        return found if isinstance(found, set) else frozenset(found)

    def add(self, key: K, id_: str) -> None:
        """Add an ID to a key."""
        found = self.get(key, ())
        if isinstance(found, set):
            found.add(id_)
        elif id_ not in found:
            self[key] = (*found, id_) if len(found) < _FEW else {*found, id_}

    def discard(self, key: K, id_: str) -> None:
        """Remove an ID from a key, if it is there."""
        found = self.get(key, ())
        if isinstance(found, set):
            found.discard(id_)
        elif id_ in found:
            self[key] = tuple(each for each in found if each != id_)
        if not self.get(key, True):
            del self[key]


class ContainerIndex:
    """Containers by ID, name, Compose service, shared network, DNS name and network."""

    def __init__(self) -> None:
        super().__init__()
        self.containers: dict[str, Container] = {}
        self._by_name: defaultdict[str, dict[str, None]] = defaultdict(dict)
        self._by_service = IdIndex[tuple[str, str]]()
        self._sharing = IdIndex[str]()
        self._answering = IdIndex[str]()
        self._configured = IdIndex[str]()
        self._linking = IdIndex[str]()

    def named(self, name: str) -> Container | None:
        """Return the container of exactly that name: the latest holder, if renames raced."""
        holders = self._by_name.get(name)
        return self.containers[next(reversed(holders))] if holders else None

    def replicas(self, project: str, service: str) -> AbstractSet[str]:
        """Return the IDs of a Compose service's containers, without one-off runs.

        Without a project, of a Swarm service's tasks.
        """
        return self._by_service.ids((project, service))

    def with_prefix(self, prefix: str) -> Container | None:
        """Return the one container whose ID begins with `prefix`, or None."""
        if prefix in self.containers:
            return self.containers[prefix]
        found = [container for id_, container in self.containers.items() if id_.startswith(prefix)]
        return found[0] if len(found) == 1 else None

    def lookup(self, reference: str) -> Container | None:
        """Return the container of `container:REFERENCE`: an ID, a prefix or a name."""
        return (
            self.containers.get(reference) or self.named(reference) or self.with_prefix(reference)
        )

    def sharers(self, *references: str) -> AbstractSet[str]:
        """Return the IDs of containers in `--network container:x` mode, x any of `references`."""
        if not self._sharing:  # as on most engines: this is asked for each recipient of a change
            return frozenset()
        return set().union(*(self._sharing.ids(each) for each in references))

    def answering(self, name: str) -> AbstractSet[str]:
        """Return the IDs of containers that the engine's DNS may give for a name on any network."""
        return self._answering.ids(name.lower())

    def configured_for(self, network: str) -> AbstractSet[str]:
        """Return the IDs of containers that have a network, by its name, in their configuration."""
        return self._configured.ids(network)

    def linking(self, source: str) -> AbstractSet[str]:
        """Return the IDs of containers whose `HostConfig.Links` name a source.

        The engine rewrites these at a rename without an event, so they need another inspect.
        """
        return self._linking.ids(source)

    def _put(self, new: Container) -> None:
        old = self.containers.get(new.id)
        if old is not None:
            self._unindex(old)
        if old is None or old.name != new.name:
            if old is not None:
                self._unname(old)
            self._by_name[new.name][new.id] = None
        self.containers[new.id] = new
        for index, key in self._keys(new):
            index.add(key, new.id)

    def _drop(self, container: str) -> bool:
        """Remove a container; return whether it was there."""
        old = self.containers.pop(container, None)
        if old is None:
            return False
        self._unindex(old)
        self._unname(old)
        return True

    def _keys(self, container: Container) -> Iterator[tuple["IdIndex[Any]", object]]:
        """Yield each index that holds the container, and its key there."""
        if container.service is not None:
            yield self._by_service, container.service
        if container.swarm_service is not None:
            yield self._by_service, ("", container.swarm_service)
        if container.shares is not None:
            yield self._sharing, container.shares
        for name in dns_names(container):
            yield self._answering, name
        for network in container.networks:
            yield self._configured, network
        for link in container.detail.links if container.detail else ():
            yield self._linking, link.source

    def _unname(self, old: Container) -> None:
        del self._by_name[old.name][old.id]
        if not self._by_name[old.name]:
            del self._by_name[old.name]

    def _unindex(self, old: Container) -> None:
        for index, key in self._keys(old):
            index.discard(key, old.id)


class EndpointIndex:
    """Endpoints by network, by container and by address."""

    def __init__(self) -> None:
        super().__init__()
        self._on_network: defaultdict[str, dict[str, Endpoint]] = defaultdict(dict)
        self._of_container: defaultdict[str, dict[str, Endpoint]] = defaultdict(dict)
        self._holders = IdIndex[str]()

    def endpoints(self, container: str) -> Mapping[str, Endpoint]:
        """Return the container's endpoints by network ID."""
        return self._of_container.get(container, _NO_ENDPOINTS)

    def members(self, network: str) -> Mapping[str, Endpoint]:
        """Return the endpoints on a network by container ID."""
        return self._on_network.get(network, _NO_ENDPOINTS)

    def holders(self, address: str) -> AbstractSet[str]:
        """Return the IDs of containers that have an address, on any network."""
        return self._holders.ids(address)

    def _put_endpoint(self, network: str, container: str, endpoint: Endpoint) -> None:
        self._take_endpoint(network, container)
        self._on_network[network][container] = endpoint
        self._of_container[container][network] = endpoint
        for address in filter(None, (endpoint.ipv4, endpoint.ipv6)):
            self._holders.add(address, container)

    def _take_endpoint(self, network: str, container: str) -> bool:
        """Remove an endpoint; return whether it was there."""
        endpoint = self._on_network.get(network, {}).pop(container, None)
        if endpoint is None:
            return False
        if not self._on_network[network]:
            del self._on_network[network]
        del self._of_container[container][network]
        left = self._of_container[container]
        if not left:
            del self._of_container[container]
        for address in filter(None, (endpoint.ipv4, endpoint.ipv6)):
            if not any(address in (each.ipv4, each.ipv6) for each in left.values()):
                self._holders.discard(address, container)
        return True

    def _clear_endpoints(self) -> None:
        self._on_network.clear()
        self._of_container.clear()
        self._holders.clear()


def dns_names(container: Container) -> set[str]:
    """Return the names for which the engine's DNS may give this container, in lower case.

    Aliases need an inspect, which the engine delays while the container starts; Compose's own
    alias is also in its label.
    """
    names = {container.name.lower()}
    if container.service is not None:
        names.add(container.service[1].lower())
    if container.detail is not None:
        for attachment in container.detail.attachments:
            names.update(name.lower() for name in attachment.names)
    return names
