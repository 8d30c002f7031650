"""Creates, fills, empties and removes the private networks that `networks.wanted` asks for.

A container never starts again if its configuration has a network that is gone (engines 20 to 29),
whether it ran at the time or not. So before relinkd removes a network, it disconnects every
container that has it. It looks them up by the network's *name*: a lookup by ID misses containers
that never ran.
"""

from collections.abc import Callable, Iterator
from logging import INFO

import anyio

from reconciler.contract import (
    Change,
    Done,
    Refused,
    RefusedError,
    Result,
    Retry,
    TaskReconciler,
    Triggers,
)
from reconciler.engine_api import EngineApi, Holder
from reconciler.features.private import networks as private
from reconciler.hosts.leased_write import Status
from reconciler.hosts.protocol import Store
from reconciler.links.graph import LinkGraph
from reconciler.links.options import PRIVATE
from reconciler.log import Reporter
from watchers.engine import Engine
from watchers.errors import EngineFailedError, NotFoundError
from watchers.mirror import Mirror
from watchers.model import Container, Network

MADE = "private.made"
JOINED = "private.joined"
LEFT = "private.left"
UNMADE = "private.unmade"

PATIENCE = 1.0
"""Seconds to wait for the mirror to have a new network, and for a hosts file that is open."""
PAUSE = 0.005
"""Seconds between two tries."""


class PrivateNetworks(TaskReconciler):
    """Keeps each source's network.

    Keys are source IDs. If a source is gone and only its network's name is left, the key is the
    start of the ID.
    """

    kind = "private"

    def __init__(
        self,
        mirror: Mirror,
        graph: LinkGraph,
        reporter: Reporter,
        pool: str,
        store: Callable[[EngineApi], Store],
    ) -> None:
        """Take subnets from `pool`; `store` opens the hosts files of leaving containers."""
        self._mirror = mirror
        self._graph = graph
        self._reporter = reporter
        self._pool = pool
        self._store = store
        self._wishes = private.Wishes()
        self._holders = private.Holders()
        self._making = anyio.Lock()
        self._refused: set[str] = set()
        self._no_ipv6 = False

    def connected(self) -> None:
        """Forget the subnets that the previous engine refused."""
        self._refused.clear()
        self._no_ipv6 = False

    # -- keys ------------------------------------------------------------------------------------

    def keys(self, change: Change) -> set[str]:
        """Return the sources that a change concerns: through recipients, or through members.

        If a user removes a network, no container changes: the next full look, or a member that
        fails to start, adds its source.
        """
        found: set[str] = set()
        for recipient in change.recipients:
            found |= self._wishes.take(recipient, self._graph, self._mirror)
        for id_ in change.containers:
            found.update(self._around(id_))
        return found

    def every_key(self) -> set[str]:
        """Return every source that a recipient asks for, and those of leftover networks."""
        found: set[str] = set()
        for recipient in self._graph.recipients():
            found |= self._wishes.take(recipient, self._graph, self._mirror)
        for id_ in self._mirror.containers:
            found.update(self._around(id_))
        found |= self._wishes.sources()
        return found | {network.labels[PRIVATE] for network in private.ours(self._mirror)}

    def _around(self, id_: str) -> Iterator[str]:
        """Yield the sources of the networks that a container is on or is configured for."""
        container = self._mirror.containers.get(id_)
        for name in self._holders.take(id_, self._mirror):
            if (source := private.source_of(name, self._mirror)) is not None:
                yield source
        for network in self._mirror.networks_of(container) if container else ():
            if private.is_ours(network):
                yield network.labels[PRIVATE]

    # -- the work ----------------------------------------------------------------------------------

    async def reconcile(self, key: str, triggers: Triggers, engine: Engine) -> Result:  # noqa: ARG002 - the contract's
        """Make, fill, empty or remove one source's network."""
        if self._mirror.unanswered() or not private.wishes_known(self._mirror):
            return Retry(PATIENCE)  # the members, or those who ask for it, are not known yet
        api = EngineApi(engine)
        want = private.wanted(key, self._wishes.recipients(key), self._graph, self._mirror)
        ipv6 = private.filters_ipv6(engine.version)
        found = private.ours(self._mirror, key)
        kept: Network | None = None
        for network in found:
            if kept is None and want.members and private.fits(network, key, ipv6=ipv6):
                kept = network
            else:
                await self._unmake(key, network, api)
        if not found:
            await self._let_go(key, api)
        if kept is None and want.members:
            kept = await self._make(key, api, ipv6=ipv6 and not self._no_ipv6)
        if kept is not None:
            await self._fill(key, kept, want.members, api)
        return Refused("; ".join(want.problems)) if want.problems else Done()

    async def _make(self, subject: str, api: EngineApi, *, ipv6: bool) -> Network:
        # One at a time, until the mirror has the network: the next one needs another subnet.
        async with self._making:
            taken = [each for network in self._mirror.networks.values() for each in network.subnets]
            for subnets in private.subnets(self._pool, taken, ipv6=ipv6):
                if subnets[0] in self._refused:
                    continue
                try:
                    made = await self._create(subject, subnets, api)
                except EngineFailedError as error:
                    if not _overlaps(error):
                        raise
                    self._refused.add(subnets[0])  # it overlaps with something not in the mirror
                    continue
                cut = " ".join(made.subnets)
                self._say(subject, MADE, network=made.name, subnets=cut)
                with anyio.move_on_after(PATIENCE):
                    while made.id not in self._mirror.networks:  # noqa: ASYNC110 - the mirror has no event for it
                        await anyio.sleep(PAUSE)
                return made
        raise RefusedError(f"no private network: the pool {self._pool} has no /28 left")

    async def _create(self, subject: str, subnets: tuple[str, ...], api: EngineApi) -> Network:
        name, labels = private.network_name(subject), {PRIVATE: subject}
        try:
            id_ = await api.create_network(name, subnets, labels)
        except EngineFailedError as error:
            # A host may have no IPv6 at all.
            if len(subnets) == 1 or _overlaps(error) or "ipv6" not in str(error).lower():
                raise
            self._no_ipv6, subnets = True, subnets[:1]
            id_ = await api.create_network(name, subnets, labels)
        return Network(id_, name, internal=True, subnets=subnets, labels=labels)

    async def _fill(
        self, subject: str, network: Network, members: tuple[str, ...], api: EngineApi
    ) -> None:
        """Connect the members to a network, and disconnect all others."""
        known = {*self._holders.of(network.name), *self._mirror.members(network.id)}
        if known == {*members} and all(self._is_on(id_, network) for id_ in members):
            return
        on = {each.id: each for each in await api.holders(network.name)}
        failed: list[EngineFailedError] = []
        for id_ in [id_ for id_ in on if id_ not in members]:  # first, to make room
            try:
                await self._leave(subject, network, on[id_], api)
            except EngineFailedError as error:
                failed.append(error)
        for id_ in [id_ for id_ in members if id_ not in on]:
            try:
                await api.join(network.id, id_)
            except NotFoundError:
                if network.id not in self._mirror.networks:
                    raise
            except EngineFailedError as error:
                failed.append(error)
            else:
                member = self._mirror.containers.get(id_)
                name = member.name if member else id_[:12]
                self._say(subject, JOINED, member=name, network=network.name)
        if failed:
            raise failed[0]

    def _is_on(self, id_: str, network: Network) -> bool:
        """Whether the mirror shows a member on a network; stopped ones have no endpoint."""
        container = self._mirror.containers.get(id_)
        return container is not None and (
            not container.running or network in self._mirror.networks_of(container)
        )

    async def _leave(self, subject: str, network: Network, holder: Holder, api: EngineApi) -> None:
        if await leave(network, holder, api, self._mirror, self._store(api)):
            self._say(subject, LEFT, member=holder.name, network=network.name)

    async def _unmake(self, subject: str, network: Network, api: EngineApi) -> None:
        try:
            gone = await unmake(network, api, self._mirror, self._store(api))
        except NotFoundError:
            return  # an event of it is on its way
        for holder in gone:
            self._say(subject, LEFT, member=holder.name, network=network.name)
        self._say(subject, UNMADE, network=network.name)

    def _say(self, key: str, event: str, **values: object) -> None:
        self._reporter.say(INFO, key, event, subject="container", **values)

    async def _let_go(self, subject: str, api: EngineApi) -> None:
        """Disconnect the containers that still have the removed network of a source."""
        name = private.network_name(subject)
        if not self._holders.of(name):
            return
        for holder in await let_go(name, api):
            self._say(subject, LEFT, member=holder.name, network=name)


def _overlaps(error: EngineFailedError) -> bool:
    return "overlap" in str(error).lower()


async def unmake(network: Network, api: EngineApi, mirror: Mirror, files: Store) -> list[Holder]:
    """Disconnect every container from one of relinkd's networks and remove it.

    Returns:
        The containers that were disconnected.

    Raises:
        NotFoundError: The network is gone already.
        EngineError: The engine refuses or fails.
    """
    gone: list[Holder] = []
    for holder in await api.holders(network.name):
        try:
            if await leave(network, holder, api, mirror, files):
                gone.append(holder)
        except EngineFailedError:
            # A running container on the network prevents its removal.
            if not holder.running and await _still_there(holder, network.name, api):
                raise
    await api.remove_network(network.id)
    return gone


async def let_go(name: str, api: EngineApi) -> list[Holder]:
    """Disconnect every container from a network that is gone.

    Returns:
        The containers that were disconnected.

    Raises:
        EngineError: The engine refuses or fails.
    """
    if (await api.engine.network(name, 0)).network is not None:
        return []  # the network exists: its event follows
    holders = await api.holders(name)
    for holder in holders:
        await api.leave(name, holder.id)
    return [*holders]


async def _still_there(holder: Holder, name: str, api: EngineApi) -> bool:
    return any(each.id == holder.id for each in await api.holders(name))


async def leave(
    network: Network, holder: Holder, api: EngineApi, mirror: Mirror, files: Store
) -> bool:
    """Disconnect a container and keep its hosts file; return whether it was connected."""
    before = await files.read(holder.id) if holder.running else None
    try:
        await api.leave(network.id, holder.id)
    except NotFoundError:
        return False
    container = mirror.containers.get(holder.id)
    if before is not None and container is not None and "/etc/hosts" not in container.mounts:
        await _keep_lines(container, before, network, mirror, files)
    return True


async def _keep_lines(
    container: Container, before: bytes, left: Network, mirror: Mirror, files: Store
) -> None:
    """Put back the lines that the engine wrongly removed (see `networks.put_back`)."""
    hostname = container.detail.hostname if container.detail else container.id[:12]

    def completed(now: bytes) -> bytes:
        endpoints = mirror.endpoints(container.id).items()
        on = (endpoint for network, endpoint in endpoints if network != left.id)
        true = {address for each in on for address in (each.ipv4, each.ipv6) if address}
        return private.put_back(before, now, hostname, true, left)

    with anyio.move_on_after(PATIENCE):
        while True:
            outcome = await files.rewrite(container.id, completed)
            if outcome.status not in (Status.BUSY, Status.NOT_READY):
                return
            await anyio.sleep(PAUSE)
