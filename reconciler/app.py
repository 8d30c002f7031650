"""The daemon: everything wired up once, in one task group, until a signal."""

import asyncio
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import anyio

from reconciler import log
from reconciler.controller import Controller
from reconciler.core.graph import LinkGraph
from reconciler.deliver.hosts import HostsFiles
from reconciler.deliver.sink import Sink
from reconciler.reload import follow
from reconciler.settings import Settings
from watchers.configfile import ConfigWatch
from watchers.hostsfiles import HostsWatch
from watchers.mirror import Mirror
from watchers.observer import Observer

STANDBY_PAUSE = 0.25
"""Seconds between two looks whether the other relinkd is gone."""
HEALTH_SOCKET = "health.sock"


class CannotRunError(Exception):
    """The daemon cannot do its work here; the text says what to mend."""


def open_files(settings: Settings) -> HostsFiles:
    """Open the engine's containers directory.

    Raises:
        CannotRunError: it is not there, or may not be entered.
    """
    try:
        return HostsFiles(Path(settings.containers_dir))
    except OSError as error:
        raise CannotRunError(
            f"{settings.containers_dir}: {error.strerror}. This must be the engine's containers "
            "directory (`containers` below what `docker info` calls Docker Root Dir), mounted "
            "writable where relinkd runs; say where with --containers-dir"
        ) from error


def run(settings: Settings) -> None:
    """Run the daemon until SIGTERM or SIGINT.

    Raises:
        CannotRunError: the containers directory, or the host's hosts file, cannot be used.
    """
    _allow_open_files()
    _check_host_names(settings)
    with open_files(settings) as files:
        anyio.run(_main, settings, files)


def _check_host_names(settings: Settings) -> None:
    """Make sure that the host's hosts file can be kept, where it is to be.

    Raises:
        CannotRunError: it cannot.
    """
    if settings.host_names_file is not None:
        from reconciler.deliver.names import HostFile  # noqa: PLC0415 - only where allowed

        if problem := HostFile(Path(settings.host_names_file)).problem():
            raise CannotRunError(problem)


def _allow_open_files() -> None:
    """Raise the soft limit to the hard one: a descriptor is kept open for each hosts file."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def _main(settings: Settings, files: HostsFiles) -> None:
    logger = log.get_logger()
    logger.info(log.STARTED, containers_dir=settings.containers_dir)
    async with anyio.create_task_group() as tasks:
        # Writes are never awaited in the middle, so a signal comes between two of them.
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, tasks.cancel_scope.cancel)
        config = ConfigWatch(Path(settings.config), settings.resync) if settings.config else None
        if config is not None:
            loop.add_signal_handler(signal.SIGHUP, config.ask)
        status = _Status()
        tasks.start_soon(_answer_health, Path(settings.run_dir), status.line)
        if not files.take_lock():
            holder = files.lock_holder()
            status.standby = f"ok: standing by, the writer is {holder}"
            logger.info(log.STANDBY, holder=holder)
            while not files.take_lock():  # noqa: ASYNC110 - nobody tells of a lock's release
                await anyio.sleep(STANDBY_PAUSE)
        with HostsWatch() as watch:
            mirror, graph = Mirror(), LinkGraph(settings.declared_by, settings.link)
            controller = Controller(mirror, graph, files, watch, allow=settings.allow)
            controller.sinks += sinks(settings, mirror, graph, files)
            observer = Observer(settings.engine, mirror, controller, resync=settings.resync)
            status.controller, status.standby = controller, None
            async with anyio.create_task_group() as work:
                work.start_soon(controller.run)
                work.start_soon(observer.run)
                if config is not None:
                    work.start_soon(follow, config, settings, controller)
    logger.info(log.STOPPED)


def sinks(
    settings: Settings, mirror: Mirror, graph: LinkGraph, files: HostsFiles
) -> Iterator[Sink]:
    """Yield what is done beside the hosts files; what is not allowed is not even imported."""
    allow = {*settings.allow}
    env: Sink | None = None
    if "env-file" in allow:
        from reconciler.deliver.env import EnvFiles  # noqa: PLC0415 - only where allowed

        env = EnvFiles(mirror, graph)
        yield env
    if allow & {"exec", "signal", "restart"}:
        from reconciler.deliver.tell import Tell  # noqa: PLC0415 - only where allowed

        tell = Tell(mirror, graph, allow)
        tell.after = env
        yield tell
    if "private" in allow:
        from reconciler.deliver.private import PrivateNetworks  # noqa: PLC0415 - only where allowed

        yield PrivateNetworks(mirror, graph, settings.private_pool, files)
    if settings.host_names_file is not None:
        from reconciler.deliver.names import HostNames  # noqa: PLC0415 - only where allowed

        yield HostNames(mirror, graph, settings.host_names_file, settings.host_names_suffix)


class _Status:
    """What `relinkd health` is told."""

    def __init__(self) -> None:
        self.standby: str | None = None
        self.controller: Controller | None = None

    def line(self) -> str:
        if self.standby is not None:
            return self.standby
        if self.controller is None:
            return "starting"
        lost = self.controller.engine_lost
        return f"engine lost: {lost}" if lost else "ok"


async def _answer_health(run_dir: Path, line: Callable[[], str]) -> None:
    """Answer every connection with one line; without a place for the socket, do without."""

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            writer.write(line().encode() + b"\n")
            await writer.drain()
        writer.close()

    path = run_dir / HEALTH_SOCKET
    try:
        run_dir.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240 - once, at the start
        path.unlink(missing_ok=True)
        server = await asyncio.start_unix_server(answer, path)
    except OSError as error:
        log.get_logger().warning(log.NO_HEALTH, run_dir=str(run_dir), reason=str(error))
        return
    try:
        async with server:
            await server.serve_forever()
    finally:
        path.unlink(missing_ok=True)
