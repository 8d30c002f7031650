"""One look at the engine, by the same code as the daemon's, for the commands that answer."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import anyio

from reconciler.app import CannotRunError, open_files
from reconciler.cli.commands import FAILED, NO_ENGINE, fail
from reconciler.core.graph import LinkGraph
from reconciler.core.report import owners
from reconciler.core.resolve import Desired, desired
from reconciler.deliver.hosts import HostsFiles
from reconciler.settings import Settings
from watchers.engine import Engine, EngineError, open_engine
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
    files: HostsFiles

    def wanted(self) -> list[tuple[Container, Desired]]:
        """Return what each hosts file that carries links should say, by the owner's name."""
        return [
            (owner, desired(owner, self.graph, self.mirror))
            for owner in owners(self.graph, self.mirror)
        ]

    def container(self, name: str) -> Container:
        """Return the container meant by an argument; end the command where there is none."""
        found = self.mirror.lookup(name.removeprefix("/"))
        if found is None:
            fail(f"no container {name!r}; `docker ps -a` lists those there are", FAILED)
        return found


def with_look(settings: Settings, answer: Callable[[Look], T]) -> T:
    """Look at everything once and return the answer; end the command where it cannot be done."""

    async def look(files: HostsFiles) -> T:
        async with open_engine(settings.engine) as engine:
            mirror, graph = Mirror(), LinkGraph(settings.declared_by)
            await look_once(engine, mirror)
            graph.affected(list(mirror.containers), mirror)
            return answer(Look(engine, mirror, graph, files))

    try:
        with open_files(settings) as files:
            return anyio.run(look, files)
    except CannotRunError as error:
        fail(str(error), FAILED)
    except EngineError as error:
        fail(str(error), NO_ENGINE)
