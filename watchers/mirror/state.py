"""The engine's current state as relinkd knows it. One task writes it; all others only read.

Events *withdraw*, answers *grant*. Addresses come from `GET /networks/{id}` alone: lists and
inspects keep the addresses of stopped containers, which other containers may have by then, and have
no address between `connect` and `start` (engines 20 to 29).

There is one provisional exception. The engine writes a starting container's own address into that
container's hosts file before it sends `connect`. Such an address counts until the network's answer
confirms it, and the mirror withdraws it if no `connect` comes (see `apply_own_addresses`).

*Not known yet is not gone.* After a lost connection every endpoint and every inspect is out of
date. The mirror drops the endpoints, so that it grants nothing old. `places_known` and
`is_inspected` show which answers are missing, so that relinkd withdraws nothing true meanwhile.
"""

from collections.abc import Iterator
from dataclasses import replace

from watchers.mirror.presence import Presence
from watchers.mirror.revisions import Revisions
from watchers.model import (
    Answer,
    Container,
    ContainerAnswer,
    Hint,
    ListAnswer,
    ListedAnswer,
    Network,
    NetworkAnswer,
    NetworkListAnswer,
)
from watchers.texts import word

SLICE = 250
"""Containers of a list that the mirror applies in one slice: two or three milliseconds."""
_DOWN = frozenset({"created", "exited", "dead", "removing", "restarting", ""})


class Mirror(Presence):
    """Containers, networks and endpoints, with the indexes that make one event cheap."""

    def __init__(self) -> None:
        super().__init__()
        self._revisions = Revisions()
        self._out_of_date: set[str] = set()
        """Containers without an inspect since the connection began."""

    # -- reading ---------------------------------------------------------------------------------

    def is_inspected(self, container: Container) -> bool:
        """Whether the mirror has an inspect since the connection began."""
        return container.detail is not None and container.id not in self._out_of_date

    def inspected_since(self, container: str, revision: int) -> bool:
        """Whether the mirror has applied an inspect asked for after this revision."""
        return self._revisions.inspected.get(container, 0) > revision

    # -- writing ---------------------------------------------------------------------------------

    def next_revision(self) -> int:
        """Return the revision for a question that is asked now; its answer must carry it."""
        return self._revisions.next()

    def lose(self) -> None:
        """Drop all endpoints, which an engine out of reach may have changed.

        No container counts as changed: none is known to be gone.
        """
        self._clear_endpoints()
        self.foreign.lose_swarm()
        self._joining.clear()
        self._provisional.clear()
        self._before_start.clear()
        self._left_since.clear()
        self._leaving.clear()
        self._unanswered, self._answered_names = {*self.networks}, None
        self._out_of_date = {*self.containers}

    def apply_event(self, hint: Hint) -> set[str]:
        """Apply what an event alone proves; return the IDs of changed containers.

        Only a `disconnect`, `die` or `destroy` withdraws an address, and no event grants one.
        """
        self._revisions.next()
        match hint.action:
            case "connect":
                return self._connect(hint)
            case "disconnect":
                self._revisions.left[hint.network][hint.container] = self._revisions.now
                taken = self._take(hint.network, hint.container)
                return taken | self._left(hint.network, hint.container)
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

    def apply_answer(self, answer: Answer) -> set[str]:
        """Apply an answer as of the time of its question; return the IDs of changed containers."""
        match answer:
            case NetworkAnswer():
                return self._apply_network(answer)
            case ContainerAnswer():
                return self._apply_inspect(answer)
            case ListAnswer():
                return set().union(*self.apply_list(answer))
            case ListedAnswer():
                return self._apply_listed(answer)
            case NetworkListAnswer():
                return self._apply_networks(answer)

    # -- events ----------------------------------------------------------------------------------

    def _create(self, hint: Hint) -> set[str]:
        if hint.container in self.containers:
            return set()
        # If a client creates and starts at once, the engine delays an inspect until after `start`,
        # so name and labels come from the event itself.
        self._put(
            Container(id=hint.container, name=hint.name, labels=hint.labels, created=hint.time_ns)
        )
        self._revisions.heard[hint.container] = self._revisions.now
        return {hint.container}

    def _connect(self, hint: Hint) -> set[str]:
        container = self.containers.get(hint.container)
        self._leaving.pop(hint.container, None)
        if container is not None or hint.container:
            self._joining[hint.container][hint.network] = self._revisions.now
            self._left_since.pop(hint.container, None)
        if container is None:
            return set()
        self._revisions.heard[hint.container] = self._revisions.now
        provisional = self._before_start.pop(hint.container, None) is not None
        if not container.running or provisional:
            self._put(replace(container, state="starting", started=hint.time_ns))
        return {hint.container}

    def _enter(self, hint: Hint, state: str) -> set[str]:
        container = self.containers.get(hint.container)
        if container is None:
            return set()
        self._revisions.heard[hint.container] = self._revisions.now
        if container.state == state:
            return set()
        # A container in `container:x` mode has no `connect`: its first event is `start`.
        provisional = self._before_start.pop(hint.container, None) is not None
        going_on = container.running and not provisional
        started = container.started if going_on else hint.time_ns
        self._put(replace(container, state=state, started=started))
        return {hint.container}

    def _die(self, hint: Hint) -> set[str]:
        now = self._revisions.now
        self._revisions.died[hint.container] = self._revisions.heard[hint.container] = now
        leaving = {*self.endpoints(hint.container)}
        changed = self._take_all(hint.container)
        container = self.containers.get(hint.container)
        if leaving and container is not None and not hint.left:
            self._leaving[hint.container] = leaving
        if container is not None and container.state != "exited":
            detail = container.detail
            if detail is not None and detail.health is not None:
                # Health returns to `starting` at the next start without an event.
                detail = replace(detail, health="starting")
            self._put(replace(container, state="exited", detail=detail))
            changed.add(hint.container)
        return changed

    def _destroy(self, hint: Hint) -> set[str]:
        now = self._revisions.now
        if hint.network:
            return self._apply_network(NetworkAnswer(hint.network, now, None))
        self._revisions.died[hint.container] = self._revisions.heard[hint.container] = now
        return self._forget(hint.container)

    def _rename(self, hint: Hint) -> set[str]:
        container = self.containers.get(hint.container)
        if container is None or not hint.name or container.name == hint.name:
            return set()
        self._revisions.heard[hint.container] = self._revisions.now
        self._put(replace(container, name=hint.name))
        return {hint.container}

    def _health(self, hint: Hint) -> set[str]:
        container = self.containers.get(hint.container)
        health = word(hint.action.partition(":")[2].strip())
        if container is None or container.detail is None or container.detail.health == health:
            return set()
        self._revisions.heard[hint.container] = self._revisions.now
        self._put(replace(container, detail=replace(container.detail, health=health or None)))
        return {hint.container}

    # -- answers ---------------------------------------------------------------------------------

    def _apply_networks(self, answer: NetworkListAnswer) -> set[str]:
        gone = [id_ for id_ in {*self.networks, *self._unanswered} if id_ not in answer.ids]
        self._revisions.list_networks(answer.ids, answer.revision)
        found = [self.apply_answer(NetworkAnswer(id_, answer.revision, None)) for id_ in gone]
        # A list that comes late may have networks that were destroyed since: nobody asks for them.
        new, newest = answer.ids - self.networks.keys(), self._revisions.is_newest_network
        self._unanswered |= {id_ for id_ in new if newest(id_, answer.revision)}
        self._answered_names = None
        return set().union(*found)

    def _apply_network(self, answer: NetworkAnswer) -> set[str]:
        if not self._revisions.accepts_network(answer.id, answer.revision):
            return set()
        changed = self._answered(answer)
        known = {**self.members(answer.id)}
        changed |= self._joined(answer)
        for container, endpoint in answer.endpoints.items():
            if (sharer := self.containers.get(container)) is not None and sharer.shares:
                continue  # it uses another container's endpoint, which Podman 4 lists for both
            if not self._revisions.is_granted(answer.id, container, answer.revision):
                continue
            self._confirm(answer.id, container)
            if known.get(container) != endpoint:
                changed |= self._outdo(container, endpoint)
                self._put_endpoint(answer.id, container, endpoint)
                changed.add(container)
        for container in [id_ for id_ in known if id_ not in answer.endpoints]:
            # Before a container's `connect`, the engine's answer does not have it.
            if answer.id not in self._provisional.get(container, ()):
                changed |= self._take(answer.id, container)
        self._revisions.forget_left(answer.id, answer.revision)
        return changed | self._replace_network(answer) | self.foreign.apply_answer(answer)

    def _answered(self, answer: NetworkAnswer) -> set[str]:
        """Return the containers that waited for a network's first answer."""
        if answer.id not in self._unanswered:
            return set()
        self._unanswered.discard(answer.id)
        self._answered_names = None
        if self._unanswered:
            return {*self.configured_for(answer.network.name)} if answer.network else set()
        names = {network.name for network in self.networks.values()}
        # After the last answer, also those configured for a network that does not exist.
        return {
            container.id
            for container in self.containers.values()
            if not container.networks or not names.issuperset(container.networks)
        }.union(self.configured_for(answer.network.name) if answer.network else ())

    def _replace_network(self, answer: NetworkAnswer) -> set[str]:
        before, now = self.networks.get(answer.id), answer.network
        if before == now:
            return set()
        changed: set[str] = set()
        self._put_network(answer.id, now)
        if now is not None:
            changed |= answer.endpoints.keys()
        if before is not None and now is None:
            changed |= self.configured_for(before.name)  # these cannot start (20 to 29)
        for network in filter(None, (before, now)):
            changed |= self._coming(network)
        return changed

    def _coming(self, network: Network) -> set[str]:
        """Return the containers that count as on a network without its answer (`networks_of`)."""
        joining = {id_ for id_, on in self._joining.items() if network.id in on}
        there = self.configured_for(network.name)
        configured = {id_ for id_ in there if self.containers[id_].state == "starting"}
        joining &= self.containers.keys()
        return {*configured, *joining, *self.foreign.members(network.id)}

    def _joined(self, answer: NetworkAnswer) -> set[str]:
        """End the waits that events began: the answer has the network's members from now on."""
        joined = {
            container
            for container, networks in self._joining.items()
            if networks.get(answer.id, answer.revision) < answer.revision
        }
        changed: set[str] = set()
        for container in joined & self.containers.keys():
            # relinkd reconciles no recipients while it waits for this answer. It did so for an
            # address from the container's own file, but not for a `start` since then.
            early = answer.id in self._provisional.get(container, ())
            same = self.endpoints(container).get(answer.id) == answer.endpoints.get(container)
            if not (early and same and self.containers[container].state == "starting"):
                changed.add(container)
        for container in joined:
            self._leave(answer.id, container)
            self._confirm(answer.id, container)
        return changed

    def _apply_inspect(self, answer: ContainerAnswer) -> set[str]:
        if answer.revision <= self._revisions.inspected.get(answer.id, 0):
            return set()
        if answer.container is not None:
            waited = answer.id in self._out_of_date
            self._out_of_date.discard(answer.id)
            changed = self._apply_container(answer.container, answer.revision)
            if answer.id in self.containers:
                self._revisions.inspected[answer.id] = answer.revision
                if waited:
                    changed.add(answer.id)
            return changed
        if not self._revisions.is_fresh(answer.id, answer.revision):
            return set()
        self._revisions.heard[answer.id] = answer.revision
        return self._forget(answer.id)

    def _apply_container(self, new: Container, revision: int) -> set[str]:
        old = self.containers.get(new.id)
        fresh = self._revisions.is_fresh(new.id, revision)
        if old is None and not fresh:
            return set()  # destroyed since
        if old is not None and (not fresh or new.id in self._before_start):
            # Later events have its newer name and state; use only the rest of the answer.
            detail = new.detail
            if detail is not None and old.detail is not None:
                detail = replace(detail, health=old.detail.health)
            new = replace(new, name=old.name, state=old.state, started=old.started, detail=detail)
        if old == new:
            return set()
        self._put(new)
        return {new.id}

    def _apply_listed(self, answer: ListedAnswer) -> set[str]:
        """Apply a container's configured networks from a list, which no start delays."""
        old, listed = self.containers.get(answer.id), answer.container
        late = self._revisions.inspected.get(answer.id, 0) > answer.revision
        if late or old is None or listed is None or listed.networks == old.networks:
            return set()
        self._put(replace(old, networks=listed.networks))
        return {old.id}

    def apply_list(self, answer: ListAnswer) -> Iterator[set[str]]:
        """Apply a list in short slices; yield the IDs of changed containers.

        The caller may apply events in between. The last slice drops containers not in the list.
        """
        if not self._revisions.is_newest_list(answer.revision):
            return
        for at in range(0, len(answer.containers), SLICE):
            changed: set[str] = set()
            for listed in answer.containers[at : at + SLICE]:
                changed |= self._apply_item(listed, answer.revision)
            yield changed
        there = {listed.id for listed in answer.containers}
        gone: set[str] = set()
        for id_ in [id_ for id_ in self.containers if id_ not in there]:
            inspected = self._revisions.inspected.get(id_, 0)
            if self._revisions.is_fresh(id_, answer.revision) and inspected <= answer.revision:
                gone |= self._forget(id_)
        self._revisions.list_containers(answer.revision, self.networks.keys())
        yield gone

    def _apply_item(self, listed: Container, revision: int) -> set[str]:
        old = self.containers.get(listed.id)
        if old is None:
            return self._apply_container(listed, revision)
        if self._revisions.inspected.get(listed.id, 0) > revision:
            return set()
        new = self._with_listed(old, listed, revision)
        if new == old:
            return set()
        self._put(new)
        return {new.id}

    def _with_listed(self, old: Container, listed: Container, revision: int) -> Container:
        fresh, state = self._revisions.is_fresh(listed.id, revision), listed.state
        if not fresh or (
            # A list has `exited` or `created` from `connect` until `start` (20 to 29); if no
            # `start` comes, an inspect shows that.
            old.state == "starting" and state in _DOWN
        ):
            state = old.state
        return replace(
            old,
            name=listed.name if fresh else old.name,
            labels=listed.labels,
            state=state,
            network_mode=listed.network_mode or old.network_mode,
            mounts=listed.mounts or old.mounts,
            networks=listed.networks,
        )

    def _forget(self, container: str) -> set[str]:
        changed = self._take_all(container)
        if self._drop(container):
            self._revisions.inspected.pop(container, None)
            self._out_of_date.discard(container)
            self._before_start.pop(container, None)
            self._leaving.pop(container, None)
            changed.add(container)
        return changed
