"""The daemon: wires up all parts and runs them in one task group until a signal."""

import asyncio
import resource
import signal
import socket
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path

import anyio
import msgspec

from reconciler import control, log
from reconciler.hosts.directory import MEND, USUAL, DirectoryError, find
from reconciler.hosts.files import HostsFiles
from reconciler.hosts.protocol import Files
from reconciler.reload import follow
from reconciler.settings import Settings, SettingsError, load_again
from reconciler.values import listen_address
from reconciler.wiring import Wiring, allowed
from watchers.configfile import ConfigWatch
from watchers.engine import open_engine
from watchers.errors import EngineError
from watchers.mirror import Mirror
from watchers.model import Place
from watchers.observer import Observer

PLACE_PAUSE = 0.5
"""Seconds between two questions for the engine's containers directory, while it is away."""
PLACE_PATIENCE = 2.0
"""Seconds for the one question of a daemon that was given the directory."""
STANDBY_PAUSE = 0.25
"""Seconds between two tries of a standby to take the lock."""


class CannotRunError(Exception):
    """The daemon cannot work here; the text has the fix."""


class UnreadableError(CannotRunError):
    """This user may not read the containers directory."""


def open_files(settings: Settings, place: Place | None = None) -> Files:
    """Open the engine's containers directory, or return copies for delivery by exec.

    Args:
        settings: The settings; `delivery` decides.
        place: The engine's answer about its directory; None to ask the engine, which may be away if
            `--containers-dir` is set.

    Raises:
        CannotRunError: The directory does not exist here, or belongs to another engine.
        UnreadableError: This user may not read it.
    """
    why = "--delivery exec"
    if settings.delivery != "exec":
        if place is None:
            given = settings.containers_dir is not None
            place = anyio.run(_checked if given else _place, settings.engine)
        try:
            return HostsFiles(find(settings.containers_dir, place.containers_dir, place.ids))
        except DirectoryError as error:
            why = str(error)
        except PermissionError as error:
            why = f"{error.filename or settings.containers_dir}: {error.strerror}"
            if settings.delivery == "path":
                raise UnreadableError(f"{why}: run relinkd as root (sudo)") from error
    if settings.delivery == "path":
        raise CannotRunError(f"{why}. {MEND}")
    from reconciler.hosts.exec import ExecFiles  # noqa: PLC0415 - only where chosen

    return ExecFiles(why)


async def _place(address: str | None) -> Place:
    """Ask the engine for its containers directory; wait for it unless the usual one exists."""
    said = ""
    while True:
        try:
            async with open_engine(address) as engine:
                return await engine.place()
        except EngineError as error:
            if USUAL.is_dir():
                return Place(None, ())
            if str(error) != said:
                said = str(error)
                log.get_logger().warning(log.ENGINE_LOST, reason=said)
        await anyio.sleep(PLACE_PAUSE)


async def _checked(address: str | None) -> Place:
    """Ask the engine once, to see whether a given directory is its own; it may be away."""
    with anyio.move_on_after(PLACE_PATIENCE), suppress(EngineError):
        async with open_engine(address) as engine:
            return await engine.place()
    return Place(None, ())


def run(settings: Settings) -> None:
    """Run the daemon until SIGTERM or SIGINT.

    Raises:
        CannotRunError: The containers directory, the host's hosts file, or the address of
            `--listen` cannot be used.
    """
    _allow_open_files()
    _check_features(settings)
    with open_files(settings) as files, _listening(settings) as bound:
        anyio.run(_main, settings, files, bound)


def _listening(settings: Settings) -> AbstractContextManager[socket.socket | None]:
    """Return the listening socket for the page and metrics; None without `--listen`.

    Raises:
        CannotRunError: relinkd cannot listen there.
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
            f"cannot listen on {settings.listen}: {what}. Set "
            "--listen to an address of this machine and a free port that this user may use"
        ) from error


def _check_features(settings: Settings) -> None:
    """Check that the allowed features can start.

    Raises:
        CannotRunError: It cannot.
    """
    for feature in allowed(settings):
        if problem := feature.unready(settings):
            raise CannotRunError(problem)


def _allow_open_files() -> None:
    """Raise the soft limit to the hard one: relinkd keeps a descriptor open per hosts file."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def _main(settings: Settings, files: Files, bound: socket.socket | None) -> None:
    logger = log.get_logger()
    loop = asyncio.get_running_loop()
    # Before any task: the command's own handler ends the process by SystemExit, which a task group
    # would wrap. No write awaits in its middle, so a signal arrives between two writes.
    end = anyio.CancelScope()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end.cancel)
    logger.info(log.STARTED, **control.started(settings, files.told))
    with end:
        await _serve(settings, files, bound)
    logger.info(log.STOPPED)


def _links_of_now(settings: Settings) -> Settings:
    """Return the settings with the config file's links of now: a standby may have waited for days.

    An invalid edit changes nothing; `follow` reports it.
    """
    with suppress(SettingsError):
        return msgspec.structs.replace(settings, link=load_again(settings).link)
    return settings


async def _serve(settings: Settings, files: Files, bound: socket.socket | None) -> None:
    async with anyio.create_task_group() as tasks:
        config = ConfigWatch(Path(settings.config), settings.resync) if settings.config else None
        if config is not None:
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, config.ask)
        status = control.Status(settings)
        if bound is not None:
            from reconciler.web.server import Server  # noqa: PLC0415 - only with --listen

            server = Server(status)
            status.attached.append(server.attach)
            tasks.start_soon(server.run, bound)
        writing = files.take_lock()
        if writing:
            status.writing.set()
        tasks.start_soon(control.serve, status, Path(settings.run_dir))
        if not writing:
            holder = files.lock_holder()
            status.standby = f"ok: standing by, the writer is {holder}"
            log.get_logger().info(log.STANDBY, holder=holder)
            while not files.take_lock():  # noqa: ASYNC110 - the kernel has no event for a lock's release
                await anyio.sleep(STANDBY_PAUSE)
            status.writing.set()
            settings = _links_of_now(settings)
        mirror = Mirror()
        with Wiring(settings, mirror, files) as wiring:
            loop_ = wiring.loop
            observer = Observer(settings.engine, mirror, loop_, resync=settings.resync)
            wiring.observer = observer
            status.attach(wiring)
            status.links = lambda: wiring.graph.config
            async with anyio.create_task_group() as work:
                work.start_soon(loop_.run)
                work.start_soon(observer.run)
                if wiring.early is not None:
                    work.start_soon(wiring.early.run, loop_)
                if wiring.fleet is not None:
                    work.start_soon(wiring.fleet.watch.run)
                if config is not None:
                    work.start_soon(follow, config, settings, loop_)
