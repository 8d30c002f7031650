"""What we know of the engine now: one owner writes it, everybody else only reads.

Events *withdraw*, answers *grant*. An answer counts as of when it was asked, so every event and
every question takes a number from one clock, and a grant asked before a withdrawal is void.
Addresses come from `GET /networks/{id}` alone: lists and inspects keep the addresses of stopped
containers, another's by then, and show none between `connect` and `start` (engines 20 to 29).
"""

from collections import defaultdict
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace
from typing import TypeVar

from watchers.model import (
    Answer,
    Container,
    ContainerAnswer,
    Endpoint,
    Hint,
    ListAnswer,
    Network,
    NetworkAnswer,
    NetworkListAnswer,
)

K = TypeVar("K")

_NOTHING: Mapping[str, Endpoint] = {}
_DOWN = frozenset({"created", "exited", "dead", "removing", "restarting", ""})


class Mirror:
    """Containers, networks and endpoints, with the indexes that make one event cheap."""

    def __init__(self) -> None:
        self.containers: dict[str, Container] = {}
        self.networks: dict[str, Network] = {}
        self._clock = 0
        self._by_name: defaultdict[str, dict[str, None]] = defaultdict(dict)
        self._by_service: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
        self._sharing: defaultdict[str, set[str]] = defaultdict(set)
        self._answering: defaultdict[str, set[str]] = defaultdict(set)
        self._configured: defaultdict[str, set[str]] = defaultdict(set)
        self._linking: defaultdict[str, set[str]] = defaultdict(set)
        self._on_network: defaultdict[str, dict[str, Endpoint]] = defaultdict(dict)
        self._of_container: defaultdict[str, dict[str, Endpoint]] = defaultdict(dict)
        self._applied: dict[str, int] = {}
        self._left: defaultdict[str, dict[str, int]] = defaultdict(dict)
        self._joining: defaultdict[str, dict[str, int]] = defaultdict(dict)
        self._died: dict[str, int] = {}
        self._heard: dict[str, int] = {}
        self._told: dict[str, int] = {}
        self._listed = 0
        self._networks_listed: tuple[int, AbstractSet[str]] = 0, frozenset()

    # -- reading ---------------------------------------------------------------------------------

    def endpoints(self, container: str) -> Mapping[str, Endpoint]:
        """Return the container's endpoints by network ID."""
        return self._of_container.get(container, _NOTHING)

    def networks_of(self, container: Container) -> list[Network]:
        """Return the networks that the container is on, or is about to be.

        From its `connect` on, whose answer with the address is still to come; and those it is
        configured for while it starts.
        """
        ids = {*self._of_container.get(container.id, ()), *self._joining.get(container.id, ())}
        found = [self.networks[id_] for id_ in ids if id_ in self.networks]
        if container.state == "starting" and container.networks:
            found += (
                network
                for network in self.networks.values()
                if network.name in container.networks and network.id not in ids
            )
        return found

    def members(self, network: str) -> Mapping[str, Endpoint]:
        """Return the endpoints on a network by container ID."""
        return self._on_network.get(network, _NOTHING)

    def named(self, name: str) -> Container | None:
        """Return the container of exactly that name; the last to take it, where news crossed."""
        holders = self._by_name.get(name)
        return self.containers[next(reversed(holders))] if holders else None

    def replicas(self, project: str, service: str) -> AbstractSet[str]:
        """Return the IDs of a Compose service's containers, one-off runs left out."""
        return self._by_service.get((project, service), frozenset())

    def with_prefix(self, prefix: str) -> Container | None:
        """Return the one container whose ID begins so; None where there is none or several."""
        if prefix in self.containers:
            return self.containers[prefix]
        found = [container for id_, container in self.containers.items() if id_.startswith(prefix)]
        return found[0] if len(found) == 1 else None

    def lookup(self, reference: str) -> Container | None:
        """Return the container meant by `container:REFERENCE`: an ID, a prefix or a name."""
        return (
            self.containers.get(reference) or self.named(reference) or self.with_prefix(reference)
        )

    def sharers(self, *references: str) -> AbstractSet[str]:
        """Return the IDs of those in `--network container:x` mode, x being any of `references`."""
        return set().union(*(self._sharing.get(each, ()) for each in references))

    def answering(self, name: str) -> AbstractSet[str]:
        """Return the IDs of containers that the engine's DNS may give for a name, any network."""
        return self._answering.get(name.lower(), frozenset())

    def any_on(self, network: Network, containers: AbstractSet[str]) -> bool:
        """Whether one of them is on the network, is about to be, or is configured for it."""
        return not (
            containers.isdisjoint(self._configured.get(network.name, ()))
            and containers.isdisjoint(self.members(network.id))
            and not any(
                network.id in networks and id_ in containers
                for id_, networks in self._joining.items()
            )
        )

    def linking(self, source: str) -> AbstractSet[str]:
        """Return the IDs of containers whose `HostConfig.Links` name a source.

        The engine rewrites those at a rename without an event of theirs: they must be asked again.
        """
        return self._linking.get(source, frozenset())

    # -- writing ---------------------------------------------------------------------------------

    def ask(self) -> int:
        """Take the number that a question, asked now, must bring back with its answer."""
        self._clock += 1
        return self._clock

    def withdraw(self, hint: Hint) -> set[str]:
        """Apply what an event alone may say; return the IDs of containers that changed by it.

        Only a `disconnect`, `die` or `destroy` takes an address, and no event ever gives one.
        """
        self._clock += 1
        match hint.action:
            case "connect":
                return self._starting(hint)
            case "disconnect":
                self._left[hint.network][hint.container] = self._clock
                return self._take(hint.network, hint.container)
            case "die":
                return self._die(hint)
            case "destroy":
                return self._destroy(hint)
            case "create" if hint.container and not hint.network:
                return self._create(hint)
            case "start" | "unpause":
                return self._enter(hint, "running")
            case "pause":
                return self._enter(hint, "paused")
            case "rename":
                return self._rename(hint)
            case _ if hint.action.startswith("health_status"):
                return self._health(hint)
            case _:
                return set()

    def learn(self, answer: Answer) -> set[str]:
        """Apply an answer as of when it was asked; return the IDs of containers that changed."""
        match answer:
            case NetworkAnswer():
                return self._learn_network(answer)
            case ContainerAnswer():
                return self._learn_inspect(answer)
            case ListAnswer():
                return self._learn_list(answer)
            case NetworkListAnswer():
                gone = [id_ for id_ in self.networks if id_ not in answer.ids]
                self._networks_listed = max(
                    self._networks_listed, (answer.asked, answer.ids), key=lambda each: each[0]
                )
                learned = (self.learn(NetworkAnswer(id_, answer.asked, None)) for id_ in gone)
                return set().union(*learned)

    # -- events ----------------------------------------------------------------------------------

    def _create(self, hint: Hint) -> set[str]:
        if hint.container in self.containers:
            return set()
        # Inspect is blocked until after `start` for a client that creates and starts at once, so
        # name and labels come from the event itself.
        self._put(
            Container(id=hint.container, name=hint.name, labels=hint.labels, created=hint.time_ns)
        )
        self._heard[hint.container] = self._clock
        return {hint.container}

    def _starting(self, hint: Hint) -> set[str]:
        self._joining[hint.container][hint.network] = self._clock
        container = self.containers.get(hint.container)
        if container is None:
            return set()
        self._heard[hint.container] = self._clock
        if not container.running:
            self._put(replace(container, state="starting", started=hint.time_ns))
        return {hint.container}

    def _enter(self, hint: Hint, state: str) -> set[str]:
        container = self.containers.get(hint.container)
        if container is None:
            return set()
        self._heard[hint.container] = self._clock
        if container.state == state:
            return set()
        # A container in `container:x` mode has no `connect`: its `start` is the first we hear.
        started = container.started if container.running else hint.time_ns
        self._put(replace(container, state=state, started=started))
        return {hint.container}

    def _die(self, hint: Hint) -> set[str]:
        self._died[hint.container] = self._heard[hint.container] = self._clock
        changed = self._take_all(hint.container)
        container = self.containers.get(hint.container)
        if container is not None and container.state != "exited":
            detail = container.detail
            if detail is not None and detail.health is not None:
                # Health goes back to `starting` at the next start without an event of its own.
                detail = replace(detail, health="starting")
            self._put(replace(container, state="exited", detail=detail))
            changed.add(hint.container)
        return changed

    def _destroy(self, hint: Hint) -> set[str]:
        if hint.network:
            return self.learn(NetworkAnswer(hint.network, self._clock, None))
        self._died[hint.container] = self._heard[hint.container] = self._clock
        return self._forget(hint.container)

    def _rename(self, hint: Hint) -> set[str]:
        container = self.containers.get(hint.container)
        if container is None or not hint.name or container.name == hint.name:
            return set()
        self._heard[hint.container] = self._clock
        self._put(replace(container, name=hint.name))
        return {hint.container}

    def _health(self, hint: Hint) -> set[str]:
        container = self.containers.get(hint.container)
        health = hint.action.partition(":")[2].strip()
        if container is None or container.detail is None or container.detail.health == health:
            return set()
        self._heard[hint.container] = self._clock
        self._put(replace(container, detail=replace(container.detail, health=health or None)))
        return {hint.container}

    # -- answers ---------------------------------------------------------------------------------

    def _learn_network(self, answer: NetworkAnswer) -> set[str]:
        asked, ids = self._networks_listed
        unlisted = answer.asked < asked and answer.id not in ids  # gone, and its end was not heard
        if answer.asked <= self._applied.get(answer.id, 0) or unlisted:
            return set()
        self._applied[answer.id] = answer.asked
        left = self._left.pop(answer.id, {})
        later = {container: stamp for container, stamp in left.items() if stamp > answer.asked}
        if later:
            self._left[answer.id] = later
        known = self._on_network.get(answer.id, _NOTHING)
        changed = self._joined(answer)
        for container in [id_ for id_ in known if id_ not in answer.endpoints]:
            changed |= self._take(answer.id, container)
        for container, endpoint in answer.endpoints.items():
            if max(later.get(container, 0), self._died.get(container, 0)) > answer.asked:
                continue
            if known.get(container) != endpoint:
                self._on_network[answer.id][container] = endpoint
                self._of_container[container][answer.id] = endpoint
                changed.add(container)
        return changed | self._replace_network(answer)

    def _replace_network(self, answer: NetworkAnswer) -> set[str]:
        before, now = self.networks.get(answer.id), answer.network
        if before == now:
            return set()
        changed: set[str] = set()
        if now is None:
            del self.networks[answer.id]
        else:
            self.networks[answer.id] = now
            changed |= answer.endpoints.keys()
        if before is not None and now is None:
            changed |= self._configured.get(before.name, set())  # these will not start (20 to 29)
        for network in filter(None, (before, now)):
            changed |= self._coming(network)
        return changed

    def _coming(self, network: Network) -> set[str]:
        """Return who is taken to be on a network before it says so (see `networks_of`)."""
        joining = (id_ for id_, networks in self._joining.items() if network.id in networks)
        configured = (
            id_
            for id_ in self._configured.get(network.name, ())
            if self.containers[id_].state == "starting"
        )
        return {*configured, *(id_ for id_ in joining if id_ in self.containers)}

    def _joined(self, answer: NetworkAnswer) -> set[str]:
        """From here on the answer says who is on the network, and no longer the event."""
        joined = {
            container
            for container, networks in self._joining.items()
            if networks.get(answer.id, answer.asked) < answer.asked
        }
        for container in joined:
            self._leave(answer.id, container)
        return joined - answer.endpoints.keys()

    def _leave(self, network: str, container: str) -> None:
        networks = self._joining.get(container)
        if networks is not None:
            networks.pop(network, None)
            if not networks:
                del self._joining[container]

    def _fresh(self, container: str, asked: int) -> bool:
        """Whether nothing was heard of the container since the question was asked."""
        return asked >= max(self._heard.get(container, 0), self._listed)

    def _learn_inspect(self, answer: ContainerAnswer) -> set[str]:
        if answer.asked <= self._told.get(answer.id, 0):
            return set()
        if answer.container is not None:
            changed = self._learn_container(answer.container, answer.asked)
            if answer.id in self.containers:
                self._told[answer.id] = answer.asked
            return changed
        if not self._fresh(answer.id, answer.asked):
            return set()
        self._heard[answer.id] = answer.asked
        return self._forget(answer.id)

    def _learn_container(self, new: Container, asked: int) -> set[str]:
        old = self.containers.get(new.id)
        if old is None and not self._fresh(new.id, asked):
            return set()  # destroyed since
        if old is not None and not self._fresh(new.id, asked):
            # Events since then know better who it is and whether it runs; the rest is still news.
            detail = new.detail
            if detail is not None and old.detail is not None:
                detail = replace(detail, health=old.detail.health)
            new = replace(new, name=old.name, state=old.state, started=old.started, detail=detail)
        if old == new:
            return set()
        self._put(new)
        return {new.id}

    def _learn_list(self, answer: ListAnswer) -> set[str]:
        changed: set[str] = set()
        if answer.asked <= self._listed:
            return changed
        for listed in answer.containers:
            old = self.containers.get(listed.id)
            if old is None:
                changed |= self._learn_container(listed, answer.asked)
                continue
            if self._told.get(listed.id, 0) > answer.asked:
                continue
            state = listed.state
            if not self._fresh(listed.id, answer.asked) or (
                # A list says `exited` or `created` from `connect` until `start` (20 to 29); where
                # none comes, an inspect says so.
                old.state == "starting" and state in _DOWN
            ):
                state = old.state
            name = listed.name if self._fresh(listed.id, answer.asked) else old.name
            new = replace(
                old,
                name=name,
                labels=listed.labels,
                state=state,
                network_mode=listed.network_mode,
                mounts=listed.mounts,
                networks=listed.networks,
            )
            if new != old:
                self._put(new)
                changed.add(new.id)
        there = {listed.id for listed in answer.containers}
        for gone in [id_ for id_ in self.containers if id_ not in there]:
            if self._fresh(gone, answer.asked) and self._told.get(gone, 0) <= answer.asked:
                changed |= self._forget(gone)
        self._prune(answer.asked)
        return changed

    def _prune(self, asked: int) -> None:
        """Drop what only guards against questions older than the last full look but one."""
        for stamps in (self._died, self._heard, *self._left.values()):
            for container in [id_ for id_, stamp in stamps.items() if stamp < self._listed]:
                del stamps[container]
        for network in [id_ for id_, left in self._left.items() if not left]:
            del self._left[network]
        for network in self._applied.keys() - self.networks.keys():
            if self._applied[network] < self._listed:
                del self._applied[network]
        self._listed = asked

    # -- indexes ---------------------------------------------------------------------------------

    def _take(self, network: str, container: str) -> set[str]:
        self._leave(network, container)
        if self._on_network.get(network, {}).pop(container, None) is None:
            return set()
        if not self._on_network[network]:
            del self._on_network[network]
        del self._of_container[container][network]
        if not self._of_container[container]:
            del self._of_container[container]
        return {container}

    def _take_all(self, container: str) -> set[str]:
        self._joining.pop(container, None)
        networks = list(self._of_container.get(container, ()))
        taken = (self._take(network, container) for network in networks)
        return set().union(*taken)

    def _forget(self, container: str) -> set[str]:
        changed = self._take_all(container)
        old = self.containers.pop(container, None)
        if old is not None:
            self._unindex(old)
            self._unname(old)
            self._told.pop(container, None)
            changed.add(container)
        return changed

    def _put(self, new: Container) -> None:
        old = self.containers.get(new.id)
        if old is not None:
            self._unindex(old)
        if old is None or old.name != new.name:
            if old is not None:
                self._unname(old)
            self._by_name[new.name][new.id] = None
        self.containers[new.id] = new
        if new.service is not None:
            self._by_service[new.service].add(new.id)
        if new.shares is not None:
            self._sharing[new.shares].add(new.id)
        for name in dns_names(new):
            self._answering[name].add(new.id)
        for network in new.networks:
            self._configured[network].add(new.id)
        for link in new.detail.links if new.detail else ():
            self._linking[link.source].add(new.id)

    def _unname(self, old: Container) -> None:
        del self._by_name[old.name][old.id]
        if not self._by_name[old.name]:
            del self._by_name[old.name]

    def _unindex(self, old: Container) -> None:
        if old.service is not None:
            _discard(self._by_service, old.service, old.id)
        if old.shares is not None:
            _discard(self._sharing, old.shares, old.id)
        for name in dns_names(old):
            _discard(self._answering, name, old.id)
        for network in old.networks:
            _discard(self._configured, network, old.id)
        for link in old.detail.links if old.detail else ():
            _discard(self._linking, link.source, old.id)


def _discard(index: dict[K, set[str]], key: K, value: str) -> None:
    members = index.get(key)
    if members is not None:
        members.discard(value)
        if not members:
            del index[key]


def dns_names(container: Container) -> set[str]:
    """Return what the engine's DNS may answer with this container, in lower case.

    Aliases need an inspect, which is blocked while it starts; Compose's is known from its label.
    """
    names = {container.name.lower()}
    if container.service is not None:
        names.add(container.service[1].lower())
    if container.detail is not None:
        for attachment in container.detail.attachments:
            names.update(name.lower() for name in attachment.names)
    return names
