"""What `relinkd check` finds out about access: to the engine, to the hosts files, to the kernel.

Nothing is changed and nothing but GET is sent: what can only be known by acting is said to be
untried.
"""

import errno
import fcntl
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from reconciler.cli.look import Look, ask
from reconciler.core.options import Power
from reconciler.deliver import inplace
from reconciler.deliver.hosts import HostsFiles
from reconciler.settings import Settings
from watchers.engine import Engine
from watchers.errors import EngineError, EngineFailedError
from watchers.events import FILTERS
from watchers.hostsfiles import HostsWatch
from watchers.model import Container

T = TypeVar("T")

_EXEC = ("POST /containers/{id}/exec", "POST /exec/{id}/start", "GET /exec/{id}/json")
CALLS: Mapping[Power, tuple[str, ...]] = {
    "env-file": ("GET /containers/{id}/archive", "PUT /containers/{id}/archive", *_EXEC),
    "exec": _EXEC,
    "signal": _EXEC,
    "restart": ("POST /containers/{id}/restart",),
    "private": (
        "POST /networks/create",
        "POST /networks/{id}/connect",
        "POST /networks/{id}/disconnect",
        "DELETE /networks/{id}",
    ),
    "host-names": (),
}
"""What each power asks of the engine beyond what relinkd always does."""
_GUARDED = (
    "something in front of the engine guards it; let GET pass there for /version, /events, "
    "/containers, /networks and all below these (in the usual socket proxy: VERSION=1, EVENTS=1, "
    "CONTAINERS=1, NETWORKS=1)"
)
_MOST_NAMED = 5
"""Containers that one line names."""


def refusals(settings: Settings) -> list[str]:
    """Ask each kind of question that the daemon asks; return what is refused, and what mends it."""

    async def asking(engine: Engine) -> list[str]:
        found = []
        for what, question in (("containers", _containers), ("networks", _networks)):
            try:
                await question(engine)
            except EngineFailedError as error:
                found.append(_refusal(what, error))
        try:
            async with engine.stream(FILTERS):
                pass
        except EngineError as error:  # it has just answered: it is there
            found.append(_refusal("events", error))
        return found

    if settings.delivery == "path" and not os.access(settings.containers_dir, os.R_OK):
        return []  # the look that follows says so, with or without an engine
    return ask(settings, asking)


async def _containers(engine: Engine) -> None:
    there = (await engine.containers(0)).containers
    for each in sorted(there, key=lambda each: not each.running)[:1]:
        await engine.container(each.id, 0)


async def _networks(engine: Engine) -> None:
    for each in sorted((await engine.networks(0)).ids)[:1]:
        await engine.network(each, 0)


def _refusal(what: str, error: EngineError) -> str:
    return f"the engine refuses GET /{what}: {error}; {_GUARDED}"


def untried(settings: Settings) -> str | None:
    """Say which calls are allowed and not tried here, as they would act; None without any."""
    calls = dict.fromkeys(call for power in settings.allow for call in CALLS[power])
    if not calls:
        return None
    return (
        f"not tried, since they act: {', '.join(calls)}; what guards the engine's socket, if "
        f"anything does, must let them pass for --allow {','.join(settings.allow)}"
    )


def problems(look: Look, settings: Settings) -> Iterator[str]:
    """Say what keeps hosts files from being kept, and what mends it."""
    if not isinstance(look.files, HostsFiles):
        yield from _beyond_exec(look)
        return
    folder = Path(settings.containers_dir)
    running = [each for each in look.mirror.containers.values() if each.running]
    missing = [each.name for each in running if not (folder / each.id).is_dir()]
    if running and len(missing) == len(running):
        yield (
            f"{folder} holds none of this engine's containers: mount `containers` below what "
            "`docker info` calls Docker Root Dir there, or say where it is with --containers-dir"
        )
        return
    files = look.files
    kept = {owner.name: files.path(owner.id) for owner, _ in look.wanted() if owner.running}
    yield from _by_reason(kept, _file_problem)
    at_work = not files.take_lock()
    if not at_work:
        yield "no `relinkd run` is at work on this directory: links are not kept"
    if limit := _watches_problem(kept, at_work=at_work):
        yield f"{limit}: raise it, or changes by others are only seen at each resync"


def _beyond_exec(look: Look) -> Iterator[str]:
    """Say whose files a command cannot write as things are; whether they have a `dd` it cannot."""
    kept = {owner.name: owner for owner, _ in look.wanted() if owner.running}

    def problem(owner: Container) -> str | None:
        if owner.state == "paused":
            return "paused: no command runs in it until it goes on"
        if owner.detail is not None and owner.detail.read_only:
            return (
                "its root is read-only, and /etc/hosts with it, where --delivery exec cannot "
                "write: it takes the engine's containers directory"
            )
        links = owner.detail.links if owner.detail else ()
        sources = {link.source: look.mirror.named(link.source) for link in links}
        down = sorted(name for name, each in sources.items() if each is None or not each.running)
        if down:
            return (
                f"{', '.join(down)}, which it has by --link, is down: until then the engine "
                "runs no command in it"
            )
        return None

    yield from _by_reason(kept, problem)


def _by_reason(kept: Mapping[str, T], problem: Callable[[T], str | None]) -> Iterator[str]:
    """Yield each problem once, with those who have it: one missing capability is one problem."""
    found: dict[str, list[str]] = {}
    for name, each in kept.items():
        if reason := problem(each):
            found.setdefault(reason, []).append(name)
    for reason, names in found.items():
        more = len(names) - _MOST_NAMED
        named = ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
        yield f"{named}: {reason}"


def _file_problem(path: Path) -> str | None:
    """Say why a hosts file cannot be kept, and what mends it; None if it can be, or is gone.

    Nothing is written. The lease is one for reading, on a descriptor for reading: the kernel asks
    for the same capability, readers do not notice, and a daemon that has the file open is no
    trouble, as that is said only after the capability was looked at.
    """
    try:
        fd = os.open(path, os.O_RDONLY | inplace.FLAGS)
    except (FileNotFoundError, BlockingIOError):
        return None  # gone, or leased by somebody for a moment
    except OSError as error:
        return f"the hosts file cannot be opened: {error.strerror}; {inplace.mend(path)}"
    try:
        if os.fstatvfs(fd).f_flag & os.ST_RDONLY:
            return (
                f"{path.parent.parent} is mounted read-only here: mount it writable; the rest may "
                "stay read-only"
            )
        if not os.access(path, os.W_OK):
            return f"the hosts file cannot be written: {inplace.mend(path)}"
        return _lease_problem(fd)
    finally:
        os.close(fd)


def _lease_problem(fd: int) -> str | None:
    inplace.ignore_sigio()
    try:
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except BlockingIOError:
        return None  # somebody has it open for writing, and we may have one
    except OSError as error:
        worse = "until then lines of links that are there change, and new ones are not made"
        if error.errno == errno.EACCES:
            owner = os.fstat(fd).st_uid
            return (
                f"no lease is to be had on the hosts file, which belongs to uid {owner}: the "
                f"capability LEASE is missing (cap_add: [DAC_OVERRIDE, LEASE]); {worse}"
            )
        return (
            f"no lease is to be had on the hosts file ({error.strerror}): its file system has "
            f"none; move Docker Root Dir to one that has, as ext4 or xfs; {worse}"
        )
    fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return None


def _watches_problem(kept: Mapping[str, Path], *, at_work: bool) -> str | None:
    """Say which limit of inotify is too low; tried where no daemon has the watches already."""
    limit = _watch_limit()
    if limit is not None and len(kept) > limit:
        return f"{len(kept)} hosts files, but fs.inotify.max_user_watches is {limit}"
    if at_work:
        return None
    with HostsWatch() as watch:
        for name, path in kept.items():
            watch.add(name, path)
        return watch.limited


def _watch_limit() -> int | None:
    try:
        return int(Path("/proc/sys/fs/inotify/max_user_watches").read_text("ascii"))
    except (OSError, ValueError):
        return None
