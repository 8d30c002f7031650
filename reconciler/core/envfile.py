"""The file that holds the variables of a recipient's links: what it says, and where it cannot be.

Lines `NAME='…'` for `. PATH`, or `set -a; . PATH` to export them. The last line is `# relinkd end`,
so that a reader that is early, and waits for the file, can tell that it has all of it.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from reconciler.core.declare import ENABLE
from reconciler.core.graph import LinkGraph
from reconciler.core.options import ENV_FILE, Copies, OptionError, env_copies, env_file
from reconciler.core.resolve import Link, desired, owner_of
from reconciler.core.variables import Variable, told_of, written
from watchers.mirror import Mirror
from watchers.model import Container

END = "# relinkd end"


@dataclass(frozen=True, slots=True)
class Content:
    """What the file should hold."""

    data: bytes
    variables: int
    left_out: tuple[str, ...]
    """Names that no shell takes, as they are."""


def content(told: Iterable[Variable]) -> Content:
    """Return the file for these variables."""
    pairs = list(told)
    done = written("shell", pairs)
    text = "".join(f"{line}\n" for line in (*done.lines, END))
    # A lone surrogate, which an answer may hold, is no byte of any variable.
    return Content(text.encode(errors="replace"), len(done.lines), done.left_out)


def path_of(container: Container) -> str | None:
    """Return where a container wants the file; None where it wants none, or says it wrongly.

    What is wrong with a label is said of all labels alike (see `label_problems`).
    """
    if container.labels.get(ENABLE, "").strip().lower() == "false":
        return None
    try:
        return env_file(container.labels)
    except OptionError:
        return None


def copies_of(container: Container) -> Copies:
    """Return which of a source's own variables a container wants; none where it says it wrongly."""
    try:
        return env_copies(container.labels)
    except OptionError:
        return frozenset()


def copied(env: Iterable[str], copies: Copies) -> list[str]:
    """Return the entries, `NAME=VALUE`, of a source's environment that are to be copied."""
    if copies == "all":
        return [*env]
    return [entry for entry in env if entry.partition("=")[0] in copies]


def problem(container: Container) -> str | None:
    """Say why a container's file cannot be where it wants it; None where it can, or wants none.

    Of an archive call the engine mounts the container's volumes, but no file system in memory: a
    file put below one is there, hidden, and no reader finds it (20 to 29).
    """
    path = path_of(container)
    if path is None or container.detail is None:
        return None
    mount = _mount_of(container, path)
    what = f"{ENV_FILE}: {path}"
    if mount == path:
        return f"{what} is a mount of its own, which can be written but never replaced"
    if mount in _plain(container.detail.tmpfs):
        return f"{what} is below {mount}, a file system in memory, which the engine cannot reach"
    if mount is not None and mount not in _plain(container.detail.writable):
        return f"{what} is below {mount}, which is mounted read-only"
    if mount is None and container.detail.read_only:
        return f"{what} is on a read-only root; name a path below a volume"
    return None


def below(container: Container, path: str) -> str:
    """Return the folder to hand the file over to: the mount that it is on, or the root.

    For a read-only root the engine refuses by that folder alone, whatever is mounted below it.
    """
    return _mount_of(container, path) or "/"


def _mount_of(container: Container, path: str) -> str | None:
    detail = container.detail
    tmpfs = detail.tmpfs if detail else ()
    above = [
        each
        for each in _plain((*container.mounts, *tmpfs))
        if path == each or path.startswith(f"{each}/")
    ]
    return max(above, key=len, default=None)


def _plain(paths: Iterable[str]) -> set[str]:
    """Leave out slashes that mean nothing: engines keep `--tmpfs /run/` as it was given."""
    return {"/" + "/".join(filter(None, path.split("/"))) for path in paths if path != "/"}


def links_of(recipient: Container, graph: LinkGraph, mirror: Mirror) -> tuple[Link, ...] | None:
    """Return a container's own links; None where the container whose network it uses is gone.

    Of one that does not run as they will be when it starts, as far as can be told now.
    """
    owner = owner_of(recipient, mirror)
    if owner is None:
        return None
    # Its file is read by its first process, so it must say what is true by then.
    recipient, owner = _started(recipient), _started(owner)
    found = desired(owner, graph, mirror, recipient).links
    return tuple(link for link in found if link.declaration.recipient == recipient.id)


def _started(container: Container) -> Container:
    return container if container.running else replace(container, state="starting")


def wish(recipient: Container, links: Iterable[Link]) -> tuple[object, ...]:
    """Return all that the file's content follows from, short of asking the engine for offers.

    What a container exposes, and its environment, never change in its life.
    """
    reached = ((link.declaration.alias, told_of(link)) for link in links)
    told = ((alias, found[0].container, found[1]) for alias, found in reached if found)
    return recipient.name, *told
