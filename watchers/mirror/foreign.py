"""Containers of other hosts.

Two places tell them. A *store* has the records that each host writes of its own containers: state,
health, ports, labels and every endpoint. *Swarm's* network database, which this host's engine asks
for a network of Swarm scope, has the names and addresses on that network, from every host. Both are
levels: what they tell now takes the place of what they told. A container that both tell is one
container; on a network that the engine answers for, only its answer counts, as on this host.

A container of another host has no hosts file here, is never a recipient, and is in no list of this
host's engine. The mirror keeps it apart from its own `containers`, and no look here drops it.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from watchers.mirror.indexes import EndpointIndex, IdIndex, dns_names
from watchers.model import (
    SWARM,
    SWARM_SERVICE,
    Container,
    Endpoint,
    Foreign,
    ForeignNetwork,
    Host,
    NetworkAnswer,
    Task,
    foreign_id,
)

STORE = "store"
"""Stands in `unheard` for the store; a network's ID for Swarm's database of that network."""
HERE = "here"
"""Stands in `unheard` for the engine's word of what its own host is called."""

HEARD = "//"
"""Among changed IDs: all that was said to be on other hosts may have changed."""


class ForeignContainers(EndpointIndex):
    """The containers of other hosts; `members` and `holders` have what reaches across hosts."""

    def __init__(self) -> None:
        super().__init__()
        self.here = Host("")
        """This host; without a name before its engine has told it."""
        self.containers: dict[str, Container] = {}
        """By `Container.id`, which is `foreign_id(host, name)`."""
        self.hosts: dict[str, Host] = {}
        """By name. A host that was lost stays, with the reason."""
        self.unheard: set[str] = set()
        """Who has yet to tell (`STORE`, network IDs); until then, what is unknown is not gone."""
        self.silent: dict[str, str] = {}
        """Network ID -> why Swarm's word of it counts no longer."""
        self.changes = 0
        """Counts every change of a container."""
        self._stored: dict[str, Foreign] = {}
        self._tasks: dict[str, tuple[ForeignNetwork, frozenset[Task]]] = {}
        self._on_swarm: defaultdict[str, dict[str, Task]] = defaultdict(dict)
        self._nodes: dict[str, str] = {}
        self._foreign: dict[str, Foreign] = {}
        self._by_key = IdIndex[tuple[str, ...]]()

    # -- reading ---------------------------------------------------------------------------------

    def find(self, *key: str) -> list[Container]:
        """Return the containers of a key, by their hosts' names and their own.

        Keys: `name` NAME, `service` PROJECT SERVICE (Compose), `task` SERVICE (Swarm).
        """
        found = (self.containers[id_] for id_ in self._by_key.ids(key))
        return sorted(found, key=lambda each: (each.host, each.name))

    def answering(self, name: str) -> AbstractSet[str]:
        """Return the IDs of containers that DNS may give for a name on a network of Swarm scope."""
        return self._by_key.ids(("dns", name.lower()))

    def told(self, container: str) -> Foreign | None:
        """Return all that is told of a container."""
        return self._foreign.get(container)

    def has_record(self, container: str) -> bool:
        """Whether its own host tells of a container: Swarm tells no more than name and address."""
        return container in self._stored

    def endpoints(self, container: str) -> Mapping[str, Endpoint]:
        """Return all endpoints of a container by network ID, also those that reach nowhere."""
        found = self._foreign.get(container)
        return found.endpoints if found else {}

    def may_have(self, container: str, address: str) -> bool:
        """Whether an address is a container's on some network, or its host's."""
        found = self._foreign[container]
        host = self.hosts.get(found.container.host)
        on = found.endpoints.values()
        return address in (host.addresses if host else ()) or any(
            address in (each.ipv4, each.ipv6) for each in on
        )

    def host_at(self, address: str) -> str:
        """Return the name of the host at an address; the address itself if no host says so."""
        hosts = (self.here, *self.hosts.values())
        found = (each.name for each in hosts if each.name and address in each.addresses)
        return next(found, None) or self._nodes.get(address, address)

    def lacks_names(self) -> bool:
        """Whether Swarm reports a host whose name the manager has not told yet.

        Never on a worker: its engine knows no names, and relinkd need not ask it again and again.
        """
        if not self._nodes:
            return False
        found = {task.address for _, tasks in self._tasks.values() for task in tasks}
        return any(self.host_at(address) == address for address in found)

    def routes(self, host: Host, network: str, endpoint: Endpoint) -> list[str]:
        """Return the words of `--routed`, said here and there, that a host's endpoint fits."""
        common = (word for word in self.here.routed if word in host.routed)
        return [word for word in common if is_routed(word, network, endpoint)]

    # -- what is waited for ----------------------------------------------------------------------

    def heard(self, who: str) -> set[str]:
        """Wait no longer for who has yet to tell: it has, or took too long; return changed IDs."""
        if who not in self.unheard:
            return set()
        self.unheard.discard(who)
        return {HEARD}

    def meet(self, here: Host) -> set[str]:
        """Take what this host is called, and what it routes; return changed IDs."""
        if here == self.here:
            return set()
        self.here = here
        for foreign in self._foreign.values():
            self._unindex(foreign)
            self._index(foreign)
        return {HEARD, *self.containers}

    # -- the store -------------------------------------------------------------------------------

    def apply_all(self, told: Iterable[Foreign]) -> set[str]:
        """Take all records of a store, in place of those it had; return changed IDs."""
        now = {each.container.id: each for each in told}
        changed = [self.heard(STORE)]
        changed += [self.apply_one(id_, None) for id_ in self._stored.keys() - now.keys()]
        changed += [self.apply_one(id_, each) for id_, each in now.items()]
        return set().union(*changed)

    def apply_one(self, container: str, told: Foreign | None) -> set[str]:
        """Take a store's record of one container, None if it has none; return changed IDs."""
        if self._stored.get(container) == told:
            return set()
        if told is None:
            del self._stored[container]
        else:
            self._stored[container] = told
        return self._merge(container)

    def apply_host(self, host: Host) -> set[str]:
        """Take what a host says of itself; return changed IDs."""
        before, self.hosts[host.name] = self.hosts.get(host.name), host
        if before == host:
            return set()
        changed = {HEARD} | self._renamed()
        for id_ in [id_ for id_, each in self.containers.items() if each.host == host.name]:
            changed |= {id_, *self._merge(id_)}
        return changed

    def lose_host(self, name: str, reason: str) -> set[str]:
        """Withdraw a store's records of a host, and remember why; return changed IDs."""
        host = replace(self.hosts.get(name) or Host(name), lost=reason)
        heard = {HEARD} if self.hosts.get(name) != host else set()
        self.hosts[name] = host
        of = [id_ for id_, each in self._stored.items() if each.container.host == name]
        return heard.union(*(self.apply_one(id_, None) for id_ in of))

    # -- Swarm's database ------------------------------------------------------------------------

    def apply_answer(self, answer: NetworkAnswer) -> set[str]:
        """Take what an engine's answer has of other hosts on a network; return changed IDs."""
        told = {HEARD} if self.silent.pop(answer.id, None) is not None else set()
        return told | self._apply_answer(answer)

    def _apply_answer(self, answer: NetworkAnswer) -> set[str]:
        if answer.network is None or answer.network.scope != SWARM or answer.tasks is None:
            return self.forget_network(answer.id)
        here = {each for on in answer.endpoints.values() for each in _addresses(on)}
        # A container's task may be there a moment longer than the container.
        own = {each.address for each in answer.tasks if each.endpoint.ipv4 in here}
        own.update(self.here.addresses)
        far = frozenset([task for task in answer.tasks if task.address not in own])
        return self.apply_network(answer.id, ForeignNetwork(answer.network.name, SWARM), far)

    def apply_nodes(self, names: Mapping[str, str]) -> set[str]:
        """Take the names of a Swarm's hosts by address, as a manager tells; return changed IDs."""
        if names == self._nodes:
            return set()
        self._nodes = dict(names)
        return {HEARD} | self._renamed()

    def _renamed(self) -> set[str]:
        """Give tasks to the hosts that have their addresses now."""
        changed: set[str] = set()
        for network, (named, tasks) in list(self._tasks.items()):
            changed |= self.apply_network(network, named, frozenset())
            changed |= self.apply_network(network, named, tasks)
        return changed

    def lose_swarm(self) -> None:
        """Drop what Swarm's database said, by an engine out of reach; no container is gone."""
        for network in list(self._tasks):
            self.forget_network(network)
            self.unheard.add(network)

    def apply_network(
        self, network: str, named: ForeignNetwork, tasks: frozenset[Task]
    ) -> set[str]:
        """Take all that Swarm's database has of a network on other hosts; return changed IDs."""
        changed = self.heard(network)
        new = network not in self._tasks
        if not new and self._tasks[network] == (named, tasks):
            return changed  # as once a second: a thousand tasks take a millisecond to compare
        self._tasks[network] = named, tasks
        hosts = {address: self.host_at(address) for address in {each.address for each in tasks}}
        # Of two endpoints, as in a restart, always the same one until one of them is gone.
        in_order = sorted(tasks, key=lambda each: (each.endpoint.ipv4 or "", each.service))
        now = {foreign_id(hosts[each.address], each.name): each for each in in_order}
        before = {id_: on[network] for id_, on in self._on_swarm.items() if network in on}
        both = before.keys() | now.keys()
        concerned = {id_ for id_ in both if before.get(id_) != now.get(id_)}
        if new:  # records of that network count no longer
            concerned |= {id_ for id_, each in self._stored.items() if network in each.endpoints}
        for id_ in concerned:
            if id_ in now:
                self._on_swarm[id_][network] = now[id_]
            elif id_ in self._on_swarm:
                self._on_swarm[id_].pop(network, None)
                if not self._on_swarm[id_]:
                    del self._on_swarm[id_]
        return changed.union(*(self._merge(id_) for id_ in concerned))

    def forget_network(self, network: str) -> set[str]:
        """Withdraw what Swarm's database said of a network; return changed IDs."""
        if network not in self._tasks:
            return self.heard(network)
        changed = self.apply_network(network, self._tasks[network][0], frozenset())
        del self._tasks[network]
        stored = [id_ for id_, each in self._stored.items() if network in each.endpoints]
        return changed.union(*(self._merge(id_) for id_ in stored))

    def silence(self, network: str, reason: str) -> set[str]:
        """Withdraw what Swarm's database said of a network, for a reason; return changed IDs."""
        if network not in self._tasks and network not in self.unheard:
            return set()
        self.silent[network] = reason
        return {HEARD, *self.forget_network(network)}

    # -- both together ---------------------------------------------------------------------------

    def _merge(self, container: str) -> set[str]:
        before, now = self._foreign.pop(container, None), self._both(container)
        if before is not None:
            self._unindex(before)
        if now is not None:
            self._foreign[container] = now
            self._index(now)
        if before == now:
            return set()
        self.changes += 1
        return {container}

    def _both(self, container: str) -> Foreign | None:
        stored, on_swarm = self._stored.get(container), self._on_swarm.get(container, {})
        if stored is None and not on_swarm:
            return None
        if stored is None:
            task = next(iter(on_swarm.values()))
            labels = {SWARM_SERVICE: task.service} if task.service else {}
            host = self.host_at(task.address)
            stored = Foreign(Container(container, task.name, labels, state="running", host=host))
        endpoints = {id_: each for id_, each in stored.endpoints.items() if id_ not in self._tasks}
        endpoints.update((network, task.endpoint) for network, task in on_swarm.items())
        networks = {**stored.networks, **{network: self._tasks[network][0] for network in on_swarm}}
        return replace(stored, endpoints=endpoints, networks=networks)

    def _keys(self, container: Container) -> Iterator[tuple[str, ...]]:
        yield "name", container.name
        if container.service is not None:
            yield "service", *container.service
        if container.swarm_service is not None:
            yield "task", container.swarm_service
        for name in dns_names(container):
            yield "dns", name

    def _index(self, foreign: Foreign) -> None:
        of = foreign.container
        self.containers[of.id] = of
        for key in self._keys(of):
            self._by_key.add(key, of.id)
        host = self.hosts.get(of.host)
        for network, endpoint in foreign.endpoints.items():
            told = foreign.networks.get(network)
            if told is None:
                continue
            # A bridge's 172.17.0.2 is another container's on each host.
            if told.scope == SWARM or (host and self.routes(host, told.name, endpoint)):
                self._put_endpoint(network, of.id, endpoint)

    def _unindex(self, foreign: Foreign) -> None:
        of = foreign.container
        del self.containers[of.id]
        for key in self._keys(of):
            self._by_key.discard(key, of.id)
        for network in foreign.endpoints:
            self._take_endpoint(network, of.id)


def _addresses(endpoint: Endpoint) -> set[str]:
    return {each for each in (endpoint.ipv4, endpoint.ipv6) if each}


def is_routed(word: str, network: str, endpoint: Endpoint) -> bool:
    """Whether a word of `--routed` means an endpoint: its network's name, or a range it is in."""
    if "/" not in word:
        return word == network
    return any(ip_address(each) in _range(word) for each in _addresses(endpoint))


@lru_cache(maxsize=64)
def _range(word: str) -> IPv4Network | IPv6Network:
    return ip_network(word)
