"""One look at the engine, by the same code as the daemon's, for the commands that answer."""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import NoReturn, TypeVar

import anyio

from reconciler.app import CannotRunError, open_files
from reconciler.cli.commands import FAILED, NO_ENGINE, fail
from reconciler.core.graph import LinkGraph
from reconciler.core.report import owners
from reconciler.core.resolve import Desired, desired
from reconciler.deliver.files import Files
from reconciler.deliver.hosts import HostsFiles
from reconciler.settings import Settings
from watchers.engine import Engine, open_engine
from watchers.errors import EngineError
from watchers.mirror import Mirror
from watchers.model import Container
from watchers.observer import look_once

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Look:
    """What one full look found."""

    engine: Engine
    mirror: Mirror
    graph: LinkGraph
    files: Files

    def wanted(self) -> list[tuple[Container, Desired]]:
        """Return what each hosts file that carries links should say, by the owner's name."""
        return [
            (owner, desired(owner, self.graph, self.mirror))
            for owner in owners(self.graph, self.mirror)
        ]

    def container(self, name: str) -> Container:
        """Return the container meant by an argument; end the command where there is none."""
        return self.mirror.lookup(name.removeprefix("/")) or no_container(name)


def no_container(name: str) -> NoReturn:
    """End a command whose argument means no container."""
    fail(f"no container {name!r}; `docker ps -a` lists those there are", FAILED)


def ask(settings: Settings, question: Callable[[Engine], Awaitable[T]]) -> T:
    """Return what is found out from the engine; end the command where it cannot be asked."""

    async def asking() -> T:
        async with open_engine(settings.engine) as engine:
            return await question(engine)

    try:
        return anyio.run(asking)
    except EngineError as error:
        fail(str(error), NO_ENGINE)


async def look_at(engine: Engine, settings: Settings) -> tuple[Mirror, LinkGraph]:
    """Look at everything that the engine has, once."""
    mirror, graph = Mirror(), LinkGraph(settings.declared_by, settings.link)
    await look_once(engine, mirror)
    graph.affected(list(mirror.containers), mirror)
    return mirror, graph


def with_look(settings: Settings, answer: Callable[[Look], T], *, every: bool = False) -> T:
    """Look at everything once and return the answer; end the command where it cannot be done.

    `every`: the answer is about the files of those without links, too.
    """
    try:
        with open_files(settings) as files:

            async def look(engine: Engine) -> T:
                mirror, graph = await look_at(engine, settings)
                if not isinstance(files, HostsFiles):
                    await _read(
                        files,
                        engine,
                        mirror.containers.values() if every else owners(graph, mirror),
                    )
                return answer(Look(engine, mirror, graph, files))

            return ask(settings, look)
    except CannotRunError as error:
        fail(str(error), FAILED)


async def _read(files: Files, engine: Engine, of: Iterable[Container]) -> None:
    """Read what no answer can wait for, where the engine is asked for it."""
    from reconciler.deliver.exec import ExecFiles, read_all  # noqa: PLC0415 - only where chosen

    if isinstance(files, ExecFiles):
        await read_all(files, engine, of)
