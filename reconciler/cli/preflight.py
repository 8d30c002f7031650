"""The access checks of `relinkd check`: the engine, the hosts files, the kernel.

They change nothing and send only GET: `untried` reports the calls that a check cannot try.
"""

import errno
import fcntl
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from reconciler.cli.snapshot import Snapshot, ask
from reconciler.hosts import leased_write
from reconciler.hosts.files import HostsFiles
from reconciler.links.options import Power
from reconciler.links.sources import owner_of
from reconciler.settings import Settings
from watchers.engine import Engine
from watchers.errors import EngineError, EngineFailedError, EngineRefusedError
from watchers.events import filters
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
"""Power -> the engine calls that it needs beyond those that relinkd always makes."""
_GUARDED = (
    "a proxy or plugin in front of the engine refuses it; allow GET for /version, /events, "
    "/containers, /networks and all below these (in the usual socket proxy: VERSION=1, EVENTS=1, "
    "CONTAINERS=1, NETWORKS=1)"
)
_MOST_NAMED = 5
"""Most containers in one line."""


def refusals(settings: Settings) -> list[str]:
    """Ask each kind of question that the daemon asks; return the refusals and their fix."""

    async def asking(engine: Engine) -> list[str]:
        found = []
        for what, question in (("containers", _containers), ("networks", _networks)):
            try:
                await question(engine)
            except EngineRefusedError as error:
                found.append(_refusal(what, error))
            except EngineFailedError:
                pass  # a fault of the engine: the look that follows names it
        try:
            async with engine.stream(filters(engine)):
                pass
        except EngineError as error:  # the engine has just answered, so it is there
            found.append(_refusal("events", error))
        return found

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
    """Return the allowed calls that this does not try, since they act; None if there are none."""
    calls = dict.fromkeys(call for power in settings.allow for call in CALLS[power])
    if not calls:
        return None
    return (
        f"not tried, since they act: {', '.join(calls)}; any proxy in front of the engine must "
        f"allow them for --allow {','.join(settings.allow)}"
    )


def limits(engine: Engine, settings: Settings) -> Iterator[str]:
    """Yield what this engine does not let relinkd do as early as Docker does (docs/podman.md)."""
    if not engine.is_podman:
        return
    yield (
        "Podman reports what happens later than Docker, up to 0.25 s where its events_logger is "
        "file: until then a stopped source is still linked, and the first process of a container "
        "that is started as soon as it is created may not find its links"
    )
    if settings.allow:
        yield f"not tested on Podman: --allow {','.join(settings.allow)}"


def problems(snapshot: Snapshot) -> Iterator[str]:
    """Yield what keeps relinkd from writing hosts files, and the fix."""
    if not isinstance(snapshot.files, HostsFiles):
        yield from _beyond_exec(snapshot)
        return
    if reason := leased_write.old_kernel():
        yield f"{reason}: {leased_write.AT_ITS_END}"
    files = snapshot.files
    kept = {owner.name: files.path(owner.id) for owner, _ in snapshot.wanted() if owner.running}
    yield from _by_reason(kept, _file_problem)
    at_work = not files.take_lock()
    if not at_work:
        yield "no `relinkd run` uses this directory: no daemon keeps the links"
    sources = {each.name: files.path(each.id) for each in _sources(snapshot)}
    if limit := _watches_problem(kept, sources, at_work=at_work):
        yield (
            f"{limit}: raise it, or relinkd sees changes by other programs only at each resync, "
            "and addresses of sources only at `connect`"
        )


def _beyond_exec(snapshot: Snapshot) -> Iterator[str]:
    """Yield the files that exec cannot write now; it cannot check whether images have `dd`."""
    kept = {owner.name: owner for owner, _ in snapshot.wanted() if owner.running}

    def problem(owner: Container) -> str | None:
        if owner.state == "paused":
            return "paused: the engine runs no command in it until unpaused"
        if owner.detail is not None and owner.detail.read_only:
            return (
                "its root file system is read-only, and so is /etc/hosts, where --delivery exec "
                "cannot write: use the engine's containers directory"
            )
        links = owner.detail.links if owner.detail else ()
        sources = {link.source: snapshot.mirror.named(link.source) for link in links}
        down = sorted(name for name, each in sources.items() if each is None or not each.running)
        if down:
            return (
                f"{', '.join(down)}, a source of its --link, is down: the engine runs no command "
                "in it until that source is up"
            )
        return None

    yield from _by_reason(kept, problem)


def _by_reason(kept: Mapping[str, T], problem: Callable[[T], str | None]) -> Iterator[str]:
    """Yield each problem once, with its containers: one missing capability is one problem."""
    found: dict[str, list[str]] = {}
    for name, each in kept.items():
        if reason := problem(each):
            found.setdefault(reason, []).append(name)
    for reason, names in found.items():
        more = len(names) - _MOST_NAMED
        named = ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
        yield f"{named}: {reason}"


def _file_problem(path: Path) -> str | None:
    """Return why relinkd cannot keep a hosts file, and the fix; None if it can, or it is gone.

    This writes nothing. It tries a read lease on a descriptor for reading: the kernel asks for the
    same capability, and readers do not notice. A daemon that has the file open does not matter,
    since the kernel checks the capability first.
    """
    try:
        fd = os.open(path, os.O_RDONLY | leased_write.FLAGS)
    except (FileNotFoundError, BlockingIOError):
        return None  # gone, or leased by another process for a moment
    except OSError as error:
        return f"the hosts file cannot be opened: {error.strerror}; {leased_write.mend(path)}"
    try:
        if os.fstatvfs(fd).f_flag & os.ST_RDONLY:
            return (
                f"{path.parent.parent} is mounted read-only here: mount it writable; other "
                "mounts may stay read-only"
            )
        if not os.access(path, os.W_OK):
            return f"the hosts file cannot be written: {leased_write.mend(path)}"
        return _lease_problem(fd)
    finally:
        os.close(fd)


def _lease_problem(fd: int) -> str | None:
    leased_write.ignore_sigio()
    try:
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except BlockingIOError:
        return None  # another process has it open for writing, but the kernel grants leases on it
    except OSError as error:
        worse = "until then relinkd changes existing lines but adds no new ones"
        if error.errno == errno.EACCES:
            owner = os.fstat(fd).st_uid
            return (
                f"the kernel grants no lease on the hosts file, which belongs to uid {owner}: the "
                f"capability LEASE is missing (cap_add: [DAC_OVERRIDE, LEASE]); {worse}"
            )
        return (
            f"the kernel grants no lease on the hosts file ({error.strerror}): its file system has "
            f"no leases; move Docker Root Dir to one that has them, such as ext4 or xfs; {worse}"
        )
    fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return None


def _sources(snapshot: Snapshot) -> Iterator[Container]:
    """Yield the owners of the hosts files that show a source before the engine does."""
    for each in snapshot.mirror.containers.values():
        if snapshot.graph.is_source(each.id):
            yield owner_of(each, snapshot.mirror) or each


def _watches_problem(
    kept: Mapping[str, Path], sources: Mapping[str, Path], *, at_work: bool
) -> str | None:
    """Return the inotify limit that is too low; try it if no daemon has the watches already.

    The daemon watches the files of recipients and, separately, those of sources.
    """
    limit, needed = _watch_limit(), len(kept) + len(sources)
    if limit is not None and needed > limit:
        return (
            f"{len(kept)} hosts files of recipients and {len(sources)} of sources to watch, but "
            f"fs.inotify.max_user_watches is {limit}"
        )
    if at_work:
        return None
    with HostsWatch() as watch:
        for name, path in {**sources, **kept}.items():
            watch.add(name, path)
        return watch.limited


def _watch_limit() -> int | None:
    try:
        return int(Path("/proc/sys/fs/inotify/max_user_watches").read_text("ascii"))
    except (OSError, ValueError):
        return None
