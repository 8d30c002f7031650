"""The networks that each container is on, or will be: from endpoints, events, its own hosts file.

The engine writes a starting container's own address into that container's hosts file before it
sends `connect`. Such an address is *provisional*: it counts until the network's answer confirms it,
and the mirror withdraws it if no `connect` comes.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace
from ipaddress import ip_address

from watchers.mirror.foreign import ForeignContainers
from watchers.mirror.indexes import ContainerIndex, EndpointIndex, IdIndex
from watchers.model import Container, Endpoint, Network


class Presence(ContainerIndex, EndpointIndex):
    """Containers, networks and endpoints, including endpoints that no answer has confirmed yet."""

    def __init__(self) -> None:
        super().__init__()
        self.foreign = ForeignContainers()
        """The containers of other hosts; all else here is of this host alone."""
        self.networks: dict[str, Network] = {}
        self._network_names = IdIndex[str]()
        self._joining: defaultdict[str, dict[str, int]] = defaultdict(dict)
        """Container -> network -> the revision of a `connect` that no answer has confirmed."""
        self._provisional: defaultdict[str, set[str]] = defaultdict(set)
        """Container -> networks on which its address comes from its own hosts file."""
        self._before_start: dict[str, str] = {}
        """Container -> the state to return to if no event confirms its provisional start."""
        self._leaving: dict[str, set[str]] = {}
        """By container that died: networks whose `disconnect` is still to come, as on 20."""
        self._unanswered: set[str] = set()
        """Listed networks without an answer since the connection began."""
        self._left_since: defaultdict[str, set[str]] = defaultdict(set)
        """By container: names of networks that it left before they answered."""
        self._answered_names: frozenset[str] | None = None
        """Names of networks with an answer; None: compute them again."""

    # -- reading ---------------------------------------------------------------------------------

    def get(self, container: str) -> Container | None:
        """Return a container of this host or of another one, by ID."""
        return self.containers.get(container) or self.foreign.containers.get(container)

    def endpoints(self, container: str) -> Mapping[str, Endpoint]:
        """Return the endpoints by network ID of a container of this host or of another one."""
        return self._of_container.get(container) or self.foreign.endpoints(container)

    def holders(self, address: str) -> AbstractSet[str]:
        """Return the IDs of containers that have an address, wherever it reaches this host from."""
        found = self._holders.ids(address)
        return found | self.foreign.holders(address) if self.foreign.containers else found

    def answering(self, name: str) -> AbstractSet[str]:
        """Return the IDs of containers that DNS may give for a name on any network."""
        found = self._answering.ids(name.lower())
        return found | self.foreign.answering(name) if self.foreign.containers else found

    def networks_of(self, container: Container) -> list[Network]:
        """Return the networks that the container is on, or is about to be on.

        A network counts from its `connect` on, before the answer with the address. While the
        container starts, its configured networks count too.
        """
        ids = {*self.endpoints(container.id), *self._joining.get(container.id, ())}
        found = [self.networks[id_] for id_ in ids if id_ in self.networks]
        if container.state == "starting":
            found += (each for each in self._named_one_of(container.networks) if each.id not in ids)
        return found

    def _named_one_of(self, names: Iterable[str]) -> list[Network]:
        """Return the networks that have one of these names; several may share one."""
        return [self.networks[id_] for name in names for id_ in self._network_names.ids(name)]

    def any_on(self, network: Network, containers: AbstractSet[str]) -> bool:
        """Whether one of the containers is on the network, will be, or is configured for it."""
        return not (
            containers.isdisjoint(self.configured_for(network.name))
            and containers.isdisjoint(self.members(network.id))
            and containers.isdisjoint(self.foreign.members(network.id))
            and not any(
                network.id in networks and id_ in containers
                for id_, networks in self._joining.items()
            )
        )

    def awaits_address(self, container: str) -> bool:
        """Whether a `connect` still waits for its network's answer."""
        return container in self._joining

    def places_known(self, container: Container) -> bool:
        """Whether every network that the container may be on has an answer.

        A network without an answer has no name yet: a container configured for a name that no
        answered network has may be on it.
        """
        if not self._unanswered:
            return True
        if self._answered_names is None:
            there = (each for id_, each in self.networks.items() if id_ not in self._unanswered)
            self._answered_names = frozenset(each.name for each in there)
        open_ = (
            {*container.networks} - self._answered_names - self._left_since.get(container.id, set())
        )
        return bool(container.networks) and not open_

    def is_provisional(self, container: str) -> bool:
        """Whether an address of the container comes only from its own hosts file."""
        return container in self._provisional

    def unconfirmed(self, container: str) -> AbstractSet[str]:
        """Return the networks on which its own hosts file has it, and no `connect` was heard."""
        return self._provisional.get(container, set()) - self._joining.get(container, {}).keys()

    def is_leaving(self, container: str) -> bool:
        """Whether a container died whose last `disconnect` is still to come.

        Engine 20 sends it 40 to 100 ms later, and may rewrite the hosts file in between.
        """
        return container in self._leaving

    def unanswered(self) -> AbstractSet[str]:
        """Return the IDs of listed networks without an answer."""
        return self._unanswered

    # -- provisional addresses -------------------------------------------------------------------

    def apply_own_addresses(self, container: str, addresses: Iterable[str]) -> set[str]:
        """Accept the addresses in a starting container's own hosts file; return changed IDs.

        The caller must make sure that the file was written since the container stopped. An address
        counts only inside a subnet of a configured network of the container (of any network, before
        its configuration is known), if no other container has it, and only between the last
        `disconnect` and the `connect` to that network. A provisional address stays if the file
        then shows another one for it, and ends if the file shows none on that network.
        """
        known = self.containers.get(container)
        if known is None or known.state in ("running", "paused") or not self.places_known(known):
            return set()
        if container in self._leaving:
            return set()  # the file has the addresses of its previous run
        shown: dict[str, list[str]] = {}
        for address in addresses:
            network = self._network_with(address, known)
            if network is not None and self.holders(address) <= {container}:
                shown.setdefault(network.id, []).append(address)
        found: dict[str, Endpoint] = {}
        for network_id, here in shown.items():
            v4 = [address for address in here if ":" not in address]
            v6 = [address for address in here if ":" in address]
            # The engine gives one of each family: with more, a program wrote some, so none counts.
            if len(v4) <= 1 and len(v6) <= 1:
                found[network_id] = Endpoint(next(iter(v4), None), next(iter(v6), None))
        return self._set_provisional(known, found)

    def expire_own_addresses(self, container: str) -> set[str]:
        """Withdraw provisional addresses without a confirming `connect`; return changed IDs."""
        known = self.containers.get(container)
        if known is None or not self.unconfirmed(container):
            return set()
        return self._set_provisional(known, {})

    def _network_with(self, address: str, container: Container) -> Network | None:
        """Return the network whose subnet holds an address, if the container may be on it."""
        parsed = ip_address(address)
        names = container.networks
        for network in self._named_one_of(names) if names else self.networks.values():
            if network.id in self._unanswered or address in network.gateways:
                continue
            if any(parsed in subnet for subnet in network.ranges):
                return network
        return None

    def _put_network(self, id_: str, network: Network | None) -> None:
        """Put a network in the place of the one with this ID; None: forget it."""
        if (before := self.networks.get(id_)) is not None:
            self._network_names.discard(before.name, id_)
        if network is None:
            del self.networks[id_]
        else:
            self.networks[id_] = network
            self._network_names.add(network.name, id_)

    def _set_provisional(self, known: Container, found: dict[str, Endpoint]) -> set[str]:
        """Make `found` the provisional endpoints of a container; keep those after a `connect`."""
        id_, joining = known.id, self._joining.get(known.id, {})
        before = {*self._provisional.get(id_, ())} - joining.keys()
        confirmed = self.endpoints(id_).keys() - before
        changed = False
        for network in before - found.keys():
            changed |= self._take_endpoint(network, id_)
            self._provisional[id_].discard(network)
        for network, shown in found.items():
            if network in confirmed or network in joining:
                continue
            # The engine writes first. What is written later, before its `connect` is heard, may be
            # the container's own program's, which runs by then.
            first = self.endpoints(id_).get(network, Endpoint(None, None))
            endpoint = Endpoint(first.ipv4 or shown.ipv4, first.ipv6 or shown.ipv6)
            if first != endpoint:
                self._put_endpoint(network, id_, endpoint)
                changed = True
            self._provisional[id_].add(network)
        if not self._provisional.get(id_):
            self._provisional.pop(id_, None)
            state = self._before_start.pop(id_, None)
            if state is not None and not self.endpoints(id_) and not joining:
                self._put(replace(known, state=state))
                changed = True
        elif not known.running:
            self._before_start[id_] = known.state
            # Its start time decides which sharers are stranded; the engine's own time follows.
            self._put(replace(known, state="starting", started=max(known.started + 1, 1)))
        return {id_} if changed else set()

    def _confirm(self, network: str, container: str) -> None:
        """Replace an address from the container's own file by the engine's answer."""
        networks = self._provisional.get(container)
        if networks is not None:
            networks.discard(network)
            if not networks:
                del self._provisional[container]
                self._before_start.pop(container, None)

    def _outdo(self, holder: str, endpoint: Endpoint) -> set[str]:
        """Withdraw a provisional address that the engine gives to another container."""
        changed: set[str] = set()
        for address in filter(None, (endpoint.ipv4, endpoint.ipv6)):
            for other in {*self.holders(address)} - {holder}:
                for network in {*self._provisional.get(other, ())}:
                    if address in (
                        self.endpoints(other)[network].ipv4,
                        self.endpoints(other)[network].ipv6,
                    ):
                        changed |= self._take(network, other)
        return changed

    # -- endpoints -------------------------------------------------------------------------------

    def _leave(self, network: str, container: str) -> None:
        networks = self._joining.get(container)
        if networks is not None:
            networks.pop(network, None)
            if not networks:
                del self._joining[container]

    def _left(self, network: str, container: str) -> set[str]:
        """Return a container that died, once its last `disconnect` came.

        Also one that left a network before that has answered: where it is not is known by that.
        """
        if network in self._unanswered and network in self.networks:
            self._left_since[container].add(self.networks[network].name)
            return {container}
        leaving = self._leaving.get(container)
        if leaving is None:
            return set()
        leaving.discard(network)
        if leaving:
            return set()
        del self._leaving[container]
        return {container}

    def _take(self, network: str, container: str) -> set[str]:
        """Remove a container's endpoint; return the container's ID if it had one."""
        self._leave(network, container)
        provisional = network in self._provisional.get(container, ())
        taken = self._take_endpoint(network, container)
        if provisional:
            self._end_provisional(network, container)
        return {container} if taken else set()

    def _end_provisional(self, network: str, container: str) -> None:
        """Restore the earlier state, once the last provisional address is gone."""
        state = self._before_start.get(container)
        self._confirm(network, container)
        known = self.containers.get(container)
        if state is not None and known is not None and not self.endpoints(container):
            self._put(replace(known, state=state))

    def _take_all(self, container: str) -> set[str]:
        self._joining.pop(container, None)
        taken = (self._take(network, container) for network in list(self.endpoints(container)))
        return set().union(*taken)
