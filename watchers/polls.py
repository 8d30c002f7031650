"""Ask again about other hosts: no event tells of their containers on networks of Swarm scope.

A network is asked for every second, and less often where nothing changes: at `LONGEST` a change is
still known within two seconds. Without an answer for `BOUND`, what Swarm told counts no longer,
whether the network's question fails or the whole engine is out of reach: by then the containers may
have gone, and others may have their addresses.
"""

import asyncio
from collections.abc import Set as AbstractSet
from dataclasses import replace
from math import ceil

import anyio
from anyio.abc import TaskGroup

from watchers.engine import Engine
from watchers.errors import EngineError, EngineRefusedError
from watchers.listener import Listener
from watchers.mirror import HERE, STORE, Mirror
from watchers.model import Hint
from watchers.session import Session

PERIOD = 1.0
"""Seconds between two questions for a network, while there are changes."""
LONGEST = 1.75
"""The same while nothing changes."""
QUIETER = 1.05
"""Each answer without a change makes the next pause this much longer."""
BOUND = 11.0
"""Seconds without an answer after which Swarm's word of a network counts no longer."""
HOSTS_AGAIN = 60.0
"""Seconds between two questions for the names of hosts."""
POLL = Hint("poll")
CUT = Hint("cut")


async def meet(engine: Engine, mirror: Mirror) -> set[str]:
    """Ask an engine who its host is, and if it knows, who the others are; return changed IDs.

    Where a proxy allows neither question, hosts are called by their addresses.
    """
    return (await _ask_names(engine, mirror))[0]


async def _ask_names(engine: Engine, mirror: Mirror) -> tuple[set[str], bool]:
    """Ask as `meet` does; also return whether a question failed that may succeed soon."""
    foreign = mirror.foreign
    changed: set[str] = set()
    soon = False
    try:
        here, known = await engine.here(), foreign.here
        addresses = dict.fromkeys((*filter(None, (here.address,)), *known.addresses))
        changed |= foreign.meet(replace(known, name=here.name, addresses=tuple(addresses)))
        if here.manager:
            changed |= foreign.apply_nodes(await engine.nodes())
    except EngineRefusedError:
        pass
    except EngineError:
        soon = True
    return changed | foreign.heard(HERE), soon


class Polls:
    """Asks what is wanted of other hosts, of one connection after the other."""

    def __init__(self, mirror: Mirror, listener: Listener) -> None:
        self._mirror = mirror
        self._foreign = mirror.foreign
        self._listener = listener
        self._networks: AbstractSet[str] = frozenset()
        self._by_name = False
        self._wake = asyncio.Event()
        self._following: dict[str, anyio.CancelScope] = {}
        self._given_up: asyncio.TimerHandle | None = None

    def want(self, networks: AbstractSet[str], *, by_name: bool) -> None:
        """Ask for these networks from now on.

        `by_name` says that names of hosts are needed, too: this one's, and those of its Swarm.
        """
        if (networks, by_name) != (self._networks, self._by_name):
            self._networks, self._by_name = frozenset(networks), by_name
            self._wake.set()

    async def run(self, engine: Engine, session: Session) -> None:
        """Ask until cancelled, as the connection ends."""
        self._following.clear()
        named = False
        async with anyio.create_task_group() as tasks:
            while True:
                self._wake.clear()
                if self._by_name and not named:
                    named = True
                    tasks.start_soon(self._meet, engine)
                self._follow_wanted(session, tasks)
                await self._wake.wait()

    def _follow_wanted(self, session: Session, tasks: TaskGroup) -> None:
        for network in self._following.keys() - self._networks:
            self._following.pop(network).cancel()
        for network in self._networks - self._following.keys():
            scope = self._following[network] = anyio.CancelScope()
            tasks.start_soon(self._follow, network, session, scope)

    async def _follow(self, network: str, session: Session, scope: anyio.CancelScope) -> None:
        """Ask for a network again and again."""
        clock = asyncio.get_running_loop().time
        pause, last = PERIOD, clock()
        hint = replace(POLL, network=network)
        with scope:
            while True:
                await anyio.sleep(pause)
                before, asked = self._foreign.changes, clock()
                with anyio.move_on_after(max(0.0, last + BOUND - clock())) as patience:
                    if await session.poll(network, hint):
                        last = asked
                if patience.cancelled_caught or clock() - last >= BOUND:
                    self._cut(self._foreign.silence(network, _silent_for(BOUND)))
                    last = clock()
                quiet = self._foreign.changes == before
                pause = min(LONGEST, pause * QUIETER) if quiet else PERIOD

    async def _meet(self, engine: Engine) -> None:
        """Ask for the names of hosts every `HOSTS_AGAIN`; soon if a host still has no name."""
        while True:
            changed, soon = await _ask_names(engine, self._mirror)
            if changed:
                self._listener.changed(changed, POLL)
                self._listener.flush()
            for _ in range(ceil(HOSTS_AGAIN / LONGEST)):
                await anyio.sleep(LONGEST)
                if soon or self._foreign.lacks_names():
                    break

    # -- an engine out of reach --------------------------------------------------------------------

    def lose(self) -> None:
        """Have the mirror lose its engine; what Swarm told counts for `BOUND` at most."""
        waiting = self._foreign.unheard - {STORE, HERE}
        self._mirror.lose()
        if not waiting and self._foreign.unheard - {STORE, HERE}:
            if self._given_up is not None:
                self._given_up.cancel()
            loop = asyncio.get_running_loop()
            self._given_up = loop.call_later(BOUND, self._give_up)

    def _give_up(self) -> None:
        self._given_up = None
        changed: set[str] = set()
        for network in self._foreign.unheard - {STORE, HERE}:
            changed |= self._foreign.silence(network, _silent_for(BOUND))
        self._cut(changed)

    def _cut(self, changed: set[str]) -> None:
        if changed:
            self._listener.cut(changed, CUT)


def _silent_for(seconds: float) -> str:
    return f"the engine has not answered for {seconds:g} s"
