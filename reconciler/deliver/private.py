"""Private networks: made, joined, left and unmade as `core.private` says there should be.

A member that has a network in its configuration which is gone never starts again (engines 20 to
29), running or not when it went. So whoever has it is taken off first, by the network's *name*: by
its ID the engine leaves out those that never ran.
"""

from collections.abc import Collection, Iterable, Iterator
from logging import INFO

import anyio

from reconciler.core import private
from reconciler.core.graph import LinkGraph
from reconciler.core.options import PRIVATE
from reconciler.deliver.acting import Acting, Holder
from reconciler.deliver.files import Files
from reconciler.deliver.inplace import Status
from reconciler.deliver.sink import RefusedError, Sink
from watchers.engine import Engine
from watchers.errors import EngineFailedError, NotFoundError
from watchers.mirror import Mirror
from watchers.model import Container, Hint, Network

MADE = "private.made"
JOINED = "private.joined"
LEFT = "private.left"
UNMADE = "private.unmade"

PATIENCE = 1.0
"""Seconds for a new network to be heard of, and for a hosts file that somebody has open."""
PAUSE = 0.005
"""Seconds between two tries."""


class PrivateNetworks(Sink):
    """Keeps each source's network.

    Subjects are sources; of one that is gone, and left no more than its network's name, the
    beginning of its ID.
    """

    kind = "private"

    def __init__(self, mirror: Mirror, graph: LinkGraph, pool: str, files: Files) -> None:
        super().__init__(mirror, graph)
        self._pool = pool
        self._files = files
        self._wishes = private.Wishes()
        self._holders = private.Holders()
        self._making = anyio.Lock()
        self._refused: set[str] = set()
        self._no_ipv6 = False

    def connected(self, engine: Engine) -> None:
        """Begin to deliver; what an engine refused may be free by now."""
        self._refused.clear()
        self._no_ipv6 = False
        super().connected(engine)

    # -- told by the controller --------------------------------------------------------------------

    def changed(
        self, containers: Collection[str], recipients: Collection[str], cause: Hint
    ) -> None:
        """Queue the sources that recipients asked for or ask for, and whose network others are on.

        That of a network which the user removed is told by no container: the next full look, or a
        member that failed to start, brings it here.
        """
        subjects: set[str] = set()
        for recipient in recipients:
            subjects |= self._wishes.take(recipient, self.graph, self.mirror)
        for id_ in containers:
            subjects.update(self._around(id_))
        self._add(subjects, cause)
        self.forget(id_ for id_ in containers if not self._concerns(id_))

    def looked(self, cause: Hint) -> None:
        """Queue every source that somebody asks for, and whatever is left of earlier ones."""
        subjects: set[str] = set()
        for recipient in self.graph.recipients():
            subjects |= self._wishes.take(recipient, self.graph, self.mirror)
        for id_ in self.mirror.containers:
            subjects.update(self._around(id_))
        subjects |= self._wishes.sources()
        subjects.update(network.labels[PRIVATE] for network in private.ours(self.mirror))
        self._add(subjects, cause)

    def _around(self, id_: str) -> Iterator[str]:
        """Yield whose networks a container is on, or is configured for."""
        container = self.mirror.containers.get(id_)
        for name in self._holders.take(id_, self.mirror):
            if (source := private.source_of(name, self.mirror)) is not None:
                yield source
        for network in self.mirror.networks_of(container) if container else ():
            if private.is_ours(network):
                yield network.labels[PRIVATE]

    def _add(self, subjects: Iterable[str], cause: Hint) -> None:
        for subject in subjects:
            self.queue.add(subject, cause)

    def _concerns(self, subject: str) -> bool:
        return bool(
            subject in self.mirror.containers
            or self._wishes.recipients(subject)
            or private.ours(self.mirror, subject)
            or self._holders.of(private.network_name(subject))
        )

    # -- the work ----------------------------------------------------------------------------------

    async def deliver(self, subject: str, cause: Hint, acting: Acting) -> None:  # noqa: ARG002
        """Make, fill, empty or unmake one source's network."""
        want = private.wanted(subject, self._wishes.recipients(subject), self.graph, self.mirror)
        ipv6 = private.filters_ipv6(acting.engine.version)
        found = private.ours(self.mirror, subject)
        kept: Network | None = None
        for network in found:
            if kept is None and want.members and private.fits(network, subject, ipv6=ipv6):
                kept = network
            else:
                await self._unmake(subject, network, acting)
        if not found:
            await self._let_go(subject, acting)
        if kept is None and want.members:
            kept = await self._make(subject, acting, ipv6=ipv6 and not self._no_ipv6)
        if kept is not None:
            await self._fill(subject, kept, want.members, acting)
        if want.problems:
            raise RefusedError("; ".join(want.problems))

    async def _make(self, subject: str, acting: Acting, *, ipv6: bool) -> Network:
        # One at a time, until the mirror has it: the next takes another subnet.
        async with self._making:
            taken = [each for network in self.mirror.networks.values() for each in network.subnets]
            for subnets in private.subnets(self._pool, taken, ipv6=ipv6):
                if subnets[0] in self._refused:
                    continue
                try:
                    made = await self._create(subject, subnets, acting)
                except EngineFailedError as error:
                    if not _overlaps(error):
                        raise
                    self._refused.add(subnets[0])  # by what we do not see
                    continue
                cut = " ".join(made.subnets)
                self.say(INFO, subject, MADE, network=made.name, subnets=cut)
                with anyio.move_on_after(PATIENCE):
                    while made.id not in self.mirror.networks:  # noqa: ASYNC110 - it tells nobody
                        await anyio.sleep(PAUSE)
                return made
        raise RefusedError(f"no private network, since the pool {self._pool} has no /28 left")

    async def _create(self, subject: str, subnets: tuple[str, ...], acting: Acting) -> Network:
        name, labels = private.network_name(subject), {PRIVATE: subject}
        try:
            id_ = await acting.create_network(name, subnets, labels)
        except EngineFailedError as error:
            # A host may have no IPv6 at all.
            if len(subnets) == 1 or _overlaps(error) or "ipv6" not in str(error).lower():
                raise
            self._no_ipv6, subnets = True, subnets[:1]
            id_ = await acting.create_network(name, subnets, labels)
        return Network(id_, name, internal=True, subnets=subnets, labels=labels)

    async def _fill(
        self, subject: str, network: Network, members: tuple[str, ...], acting: Acting
    ) -> None:
        """Have those on a network who should be, and nobody else."""
        known = {*self._holders.of(network.name), *self.mirror.members(network.id)}
        if known == {*members} and all(self._is_on(id_, network) for id_ in members):
            return
        on = {each.id: each for each in await acting.holders(network.name)}
        failed: list[EngineFailedError] = []
        for id_ in [id_ for id_ in on if id_ not in members]:  # first: there may be no room yet
            try:
                await self._leave(subject, network, on[id_], acting)
            except EngineFailedError as error:
                failed.append(error)
        for id_ in [id_ for id_ in members if id_ not in on]:
            try:
                await acting.join(network.id, id_)
            except NotFoundError:
                if network.id not in self.mirror.networks:
                    raise
            except EngineFailedError as error:
                failed.append(error)
            else:
                member = self.mirror.containers.get(id_)
                name = member.name if member else id_[:12]
                self.say(INFO, subject, JOINED, member=name, network=network.name)
        if failed:
            raise failed[0]

    def _is_on(self, id_: str, network: Network) -> bool:
        """Whether the mirror shows a member on a network; stopped ones have no endpoint."""
        container = self.mirror.containers.get(id_)
        return container is not None and (
            not container.running or network in self.mirror.networks_of(container)
        )

    async def _leave(self, subject: str, network: Network, holder: Holder, acting: Acting) -> None:
        if await leave(network, holder, acting, self.mirror, self._files):
            self.say(INFO, subject, LEFT, member=holder.name, network=network.name)

    async def _unmake(self, subject: str, network: Network, acting: Acting) -> None:
        try:
            gone = await unmake(network, acting, self.mirror, self._files)
        except NotFoundError:
            return  # an event of it is on its way
        for holder in gone:
            self.say(INFO, subject, LEFT, member=holder.name, network=network.name)
        self.say(INFO, subject, UNMADE, network=network.name)

    async def _let_go(self, subject: str, acting: Acting) -> None:
        """Take off those configured for the network of a source that is gone, or never starts."""
        name = private.network_name(subject)
        if not self._holders.of(name):
            return
        for holder in await let_go(name, acting):
            self.say(INFO, subject, LEFT, member=holder.name, network=name)


def _overlaps(error: EngineFailedError) -> bool:
    return "overlap" in str(error).lower()


async def unmake(network: Network, acting: Acting, mirror: Mirror, files: Files) -> list[Holder]:
    """Remove a network of ours, everybody who has it taken off before; return who was.

    Raises:
        NotFoundError: it is gone already.
        EngineError: the engine will not.
    """
    gone: list[Holder] = []
    for holder in await acting.holders(network.name):
        try:
            if await leave(network, holder, acting, mirror, files):
                gone.append(holder)
        except EngineFailedError:
            # A running one keeps the network from being removed, if it is on it at all.
            if not holder.running and await _still_there(holder, network.name, acting):
                raise
    await acting.remove_network(network.id)
    return gone


async def let_go(name: str, acting: Acting) -> list[Holder]:
    """Take everybody off a network that is gone; return who was taken.

    Raises:
        EngineError: the engine will not.
    """
    if (await acting.engine.network(name, 0)).network is not None:
        return []  # it is there: news of it is on its way
    holders = await acting.holders(name)
    for holder in holders:
        await acting.leave(name, holder.id)
    return [*holders]


async def _still_there(holder: Holder, name: str, acting: Acting) -> bool:
    return any(each.id == holder.id for each in await acting.holders(name))


async def leave(
    network: Network, holder: Holder, acting: Acting, mirror: Mirror, files: Files
) -> bool:
    """Take a container off a network, and keep its hosts file; return if it was there to take."""
    before = files.read(holder.id) if holder.running else None
    try:
        await acting.leave(network.id, holder.id)
    except NotFoundError:
        return False
    container = mirror.containers.get(holder.id)
    if before is not None and container is not None and "/etc/hosts" not in container.mounts:
        await _keep_lines(container, before, network, mirror, files)
    return True


async def _keep_lines(
    container: Container, before: bytes, left: Network, mirror: Mirror, files: Files
) -> None:
    """Put back what the engine took too many (see `core.private.put_back`)."""
    hostname = container.detail.hostname if container.detail else container.id[:12]

    def completed(now: bytes) -> bytes:
        endpoints = mirror.endpoints(container.id).items()
        on = (endpoint for network, endpoint in endpoints if network != left.id)
        true = {address for each in on for address in (each.ipv4, each.ipv6) if address}
        return private.put_back(before, now, hostname, true, left)

    with anyio.move_on_after(PATIENCE):
        while files.rewrite(container.id, completed).status in (Status.BUSY, Status.NOT_READY):  # noqa: ASYNC110
            await anyio.sleep(PAUSE)
