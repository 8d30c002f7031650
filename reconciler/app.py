"""The daemon: everything wired up once, in one task group, until a signal."""

import asyncio
import resource
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path

import anyio

from reconciler import log
from reconciler.controller import Controller
from reconciler.core.graph import LinkGraph
from reconciler.deliver.files import Files
from reconciler.deliver.hosts import HostsFiles
from reconciler.deliver.sink import Sink
from reconciler.reload import follow
from reconciler.settings import Settings, listen_address
from watchers.configfile import ConfigWatch
from watchers.hostsfiles import HostsWatch
from watchers.mirror import Mirror
from watchers.observer import Observer

STANDBY_PAUSE = 0.25
"""Seconds between two looks whether the other relinkd is gone."""
HEALTH_SOCKET = "health.sock"


class CannotRunError(Exception):
    """The daemon cannot do its work here; the text says what to mend."""


def open_files(settings: Settings) -> Files:
    """Open the engine's containers directory, or do without it where that is asked for.

    Raises:
        CannotRunError: it is not there, or may not be entered.
    """
    why = "--delivery exec"
    if settings.delivery != "exec":
        try:
            return HostsFiles(Path(settings.containers_dir))
        except OSError as error:
            why = f"{settings.containers_dir}: {error.strerror}"
    if settings.delivery == "path":
        raise CannotRunError(
            f"{why}. This must be the engine's containers "
            "directory (`containers` below what `docker info` calls Docker Root Dir), mounted "
            "writable where relinkd runs; say where with --containers-dir. Where it cannot be "
            "mounted: --delivery exec --allow exec, which reaches less (docs/delivery.md)"
        )
    from reconciler.deliver.exec import ExecFiles  # noqa: PLC0415 - only where chosen

    return ExecFiles(why)


def run(settings: Settings) -> None:
    """Run the daemon until SIGTERM or SIGINT.

    Raises:
        CannotRunError: the containers directory, the host's hosts file, or the address to listen
            on cannot be used.
    """
    _allow_open_files()
    _check_host_names(settings)
    with open_files(settings) as files, _listening(settings) as bound:
        anyio.run(_main, settings, files, bound)


def _listening(settings: Settings) -> AbstractContextManager[socket.socket | None]:
    """Return the socket that metrics are asked for on, None without `--listen`.

    Raises:
        CannotRunError: nobody can listen there.
    """
    if settings.listen is None:
        return nullcontext()
    address = listen_address(settings.listen)
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    try:
        return socket.create_server(address, family=family)
    except OSError as error:
        what = str(error.strerror).partition(" (")[0]
        raise CannotRunError(
            f"cannot listen on {settings.listen}: {what}. Say with "
            "--listen an address of this machine, and a port that is free and may be had"
        ) from error


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


async def _main(settings: Settings, files: Files, bound: socket.socket | None) -> None:
    logger = log.get_logger()
    logger.info(log.STARTED, **files.told)
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
        if bound is not None:
            from reconciler.metrics import serve  # noqa: PLC0415 - only with --listen

            tasks.start_soon(serve, bound, status)
        if not files.take_lock():
            holder = files.lock_holder()
            status.standby = f"ok: standing by, the writer is {holder}"
            logger.info(log.STANDBY, holder=holder)
            while not files.take_lock():  # noqa: ASYNC110 - nobody tells of a lock's release
                await anyio.sleep(STANDBY_PAUSE)
        with HostsWatch() as watch:
            mirror, graph = Mirror(), LinkGraph(settings.declared_by, settings.link)
            controller = wired(settings, mirror, graph, files, watch)
            observer = Observer(settings.engine, mirror, controller, resync=settings.resync)
            status.controller, status.standby = controller, None
            async with anyio.create_task_group() as work:
                work.start_soon(controller.run)
                work.start_soon(observer.run)
                if config is not None:
                    work.start_soon(follow, config, settings, controller)
    logger.info(log.STOPPED)


def wired(
    settings: Settings, mirror: Mirror, graph: LinkGraph, files: Files, watch: HostsWatch
) -> Controller:
    """Return a controller with all that it is to do beside the hosts files."""
    controller = Controller(mirror, graph, files, watch, allow=settings.allow)
    if not isinstance(files, HostsFiles):
        from reconciler.deliver.exec import ExecFiles, ExecWrites  # noqa: PLC0415 - only where chosen

        if isinstance(files, ExecFiles):
            controller.sinks.append(ExecWrites(mirror, graph, files, controller.look_again))
    controller.sinks += _sinks(settings, mirror, graph, files)
    return controller


def _sinks(settings: Settings, mirror: Mirror, graph: LinkGraph, files: Files) -> Iterator[Sink]:
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
