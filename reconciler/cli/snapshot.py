"""One full look at the engine, by the daemon's code, for one-shot commands."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import NoReturn, TypeVar

import anyio

from reconciler.app import CannotRunError, UnreadableError, open_files
from reconciler.cli.commands import FAILED, NO_ENGINE, USAGE, fail, note
from reconciler.cli.daemon import SilentError
from reconciler.cli.daemon import ask as ask_daemon
from reconciler.feature import Seen
from reconciler.hosts.files import HostsFiles
from reconciler.hosts.live import Unread
from reconciler.hosts.protocol import Files
from reconciler.links.declare import Declaration
from reconciler.links.desired import Desired, desired
from reconciler.links.graph import LinkGraph
from reconciler.links.sources import sources_of
from reconciler.links.text import plain
from reconciler.settings import Settings
from reconciler.views.report import owners
from watchers.engine import Engine, open_engine
from watchers.errors import AddressError, EngineError
from watchers.mirror import Mirror
from watchers.model import Container, Host, Place
from watchers.observer import look_once
from watchers.polls import meet

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The result of one full look."""

    engine: Engine
    mirror: Mirror
    graph: LinkGraph
    opened: Files | None
    """The hosts files; None if this user may not read them."""
    troubles: Mapping[str, str] = field(default_factory=dict)
    """By owner: why the daemon cannot make its hosts file right."""

    @property
    def files(self) -> Files:
        """The hosts files, for commands that cannot do without them."""
        if self.opened is None:
            raise RuntimeError("asked with unread=True")
        return self.opened

    def seen(self, settings: Settings) -> Seen:
        """Return what features are asked about."""
        return Seen(settings, self.engine, self.mirror, self.graph)

    def wanted(self) -> list[tuple[Container, Desired]]:
        """Return the wanted content of each hosts file with links, by the owner's name."""
        return [(owner, self.desired(owner)) for owner in owners(self.graph, self.mirror)]

    def desired(self, owner: Container) -> Desired:
        """Return the wanted content of a hosts file."""
        trouble = self.troubles.get(owner.id, "")
        return replace(desired(owner, self.graph, self.mirror), trouble=trouble)

    def read(self, owner: str) -> bytes | Unread | None:
        """Return a hosts file's bytes; None if it cannot be read."""
        return Unread.UNREAD if self.opened is None else self.opened.read(owner)

    def container(self, name: str) -> Container:
        """Return the container of an argument; end the command if there is none."""
        return one_of(name, self.mirror)

    def containers(self, name: str) -> tuple[Container, ...]:
        """Return the container or service of an argument; end the command if there is none."""
        return meant(name, self.mirror) or no_container(name, self.mirror)


def meant(name: str, mirror: Mirror) -> tuple[Container, ...]:
    """Return the container of a name or ID, or those of PROJECT/SERVICE."""
    bare = name.removeprefix("/")
    if "/" in bare:
        return sources_of(Declaration("", bare, "", None, "label"), mirror)
    found = mirror.lookup(bare)
    return (found,) if found else ()


def one_of(name: str, mirror: Mirror) -> Container:
    """Return the only container of an argument; end the command if there is not exactly one."""
    found = meant(name, mirror) or no_container(name, mirror)
    if len(found) > 1:
        named = ", ".join(each.name for each in found)
        fail(f"{plain(name)} has {len(found)} containers; name one of {named}", FAILED)
    return found[0]


def no_container(name: str, mirror: Mirror) -> NoReturn:
    """End a command whose argument matches no container."""
    bare = name.removeprefix("/")
    what = f"container of service {plain(bare)}" if "/" in bare else f"container {plain(name)!r}"
    names = [each.name for each in mirror.containers.values()]
    names += ["/".join(each.service) for each in mirror.containers.values() if each.service]
    near = get_close_matches(bare, dict.fromkeys(names), n=1)
    hint = f"did you mean {plain(near[0])}?" if near else "`docker ps -a` lists all containers"
    fail(f"no {what}; {hint}", FAILED)


def ask(settings: Settings, question: Callable[[Engine], Awaitable[T]]) -> T:
    """Return the answer from the engine; end the command if the engine does not answer."""

    async def asking() -> T:
        async with open_engine(settings.engine) as engine:
            return await question(engine)

    try:
        return anyio.run(asking)
    except AddressError as error:
        fail(str(error), USAGE)
    except EngineError as error:
        fail(str(error), NO_ENGINE)
    except CannotRunError as error:
        fail(str(error), FAILED)


def open_here(settings: Settings) -> Files:
    """Open the engine's containers directory; end the command if it is not here."""
    place = ask(settings, lambda engine: engine.place())
    try:
        return open_files(settings, place)
    except CannotRunError as error:
        fail(str(error), FAILED)


async def take_snapshot(
    engine: Engine, settings: Settings, say: Callable[[str], None] = note
) -> tuple[Mirror, LinkGraph]:
    """Take one full look; return the mirror and the graph.

    Args:
        engine: The engine to ask.
        settings: The settings in force.
        say: Takes why a fleet's store did not answer: links to other hosts are not known then.
    """
    mirror, graph = Mirror(), LinkGraph(settings.declared_by, settings.link)
    mirror.foreign.meet(Host("", routed=settings.routed))
    for error in await look_once(engine, mirror):
        say(f"{error}; relinkd does not know what depends on it")
    graph.update([*mirror.containers, *mirror.foreign.containers], mirror)
    if graph.far:
        graph.update(await meet(engine, mirror), mirror)
    if graph.far and settings.fleet is not None:
        from reconciler.fleet import read_once  # noqa: PLC0415 - only with a store

        changed, problem = await read_once(settings, mirror, graph)
        graph.update(changed, mirror)
        if problem is not None:
            say(f"{problem}; nothing is known of the containers of other hosts")
    return mirror, graph


async def look(
    engine: Engine,
    settings: Settings,
    answer: Callable[[Snapshot], T],
    *,
    every: bool = False,
    unread: bool = False,
) -> T:
    """Take one full look, and return the command's answer from it.

    Args:
        engine: The engine to ask.
        settings: The settings in force.
        answer: Makes the answer from the snapshot.
        every: Whether the answer also concerns files of containers without links.
        unread: Whether the answer can do without the files, if this user may not read them.

    Raises:
        EngineError: A question to the engine failed.
        CannotRunError: The hosts files cannot be reached.
    """
    mirror, graph = await take_snapshot(engine, settings)
    try:
        files = open_files(settings, await place_of(engine, mirror))
    except UnreadableError as error:
        if not unread:
            raise
        note(f"{error}; relinkd did not read the hosts files, so the states are the engine's only")
        return answer(Snapshot(engine, mirror, graph, None, _troubles(settings)))
    with files:
        if not isinstance(files, HostsFiles):
            of = mirror.containers.values() if every else owners(graph, mirror)
            await _read(files, engine, of)
        return answer(Snapshot(engine, mirror, graph, files, _troubles(settings)))


def _troubles(settings: Settings) -> Mapping[str, str]:
    """Return what the daemon says of hosts files; nothing without a daemon."""
    with suppress(SilentError):
        return ask_daemon(settings.run_dir)[1].troubles
    return {}


async def place_of(engine: Engine, mirror: Mirror) -> Place:
    """Return the engine's containers directory; ask the engine only if no container shows it."""
    told = (each.containers_dir for each in mirror.containers.values())
    folder = next((each for each in told if each is not None), None)
    if folder is None:
        folder = (await engine.place()).containers_dir
    return Place(folder, tuple(mirror.containers))


def with_snapshot(
    settings: Settings,
    answer: Callable[[Snapshot], T],
    *,
    every: bool = False,
    unread: bool = False,
) -> T:
    """Return the answer of `look`; end the command if it fails."""
    return ask(settings, lambda engine: look(engine, settings, answer, every=every, unread=unread))


async def _read(files: Files, engine: Engine, of: Iterable[Container]) -> None:
    """Read the files through the engine before the answer, for delivery by exec."""
    from reconciler.hosts.exec import ExecFiles, read_all  # noqa: PLC0415 - only where chosen

    if isinstance(files, ExecFiles):
        await read_all(files, engine, of)
