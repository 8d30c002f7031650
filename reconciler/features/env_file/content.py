"""The file with the variables of a recipient's links: its content, and paths that cannot work.

Its lines are `NAME='…'` for `. PATH`, or `set -a; . PATH` to export them. The last line is
`# relinkd end`, so that a program that waits for the file knows when it is complete.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from reconciler.links.declare import ENABLE
from reconciler.links.options import ENV_FILE, Copies, OptionError, env_copies, env_file
from reconciler.links.reach import Link
from reconciler.links.variables import Variable, reached_at, written
from watchers.model import Container

END = "# relinkd end"


@dataclass(frozen=True, slots=True)
class Content:
    """The wanted content of the file."""

    data: bytes
    variables: int
    left_out: tuple[str, ...]
    """Names that no shell accepts, unquoted."""


def content(told: Iterable[Variable]) -> Content:
    """Return the file for these variables."""
    pairs = list(told)
    done = written("shell", pairs)
    text = "".join(f"{line}\n" for line in (*done.lines, END))
    # An answer may hold a lone surrogate, which stands for no byte of a variable.
    return Content(text.encode(errors="replace"), len(done.lines), done.left_out)


def path_of(container: Container) -> str | None:
    """Return a container's path for the file; None if it wants none, or if the label is invalid.

    `label_problems` reports invalid labels.
    """
    if container.labels.get(ENABLE, "").strip().lower() == "false":
        return None
    try:
        return env_file(container.labels)
    except OptionError:
        return None


def copies_of(container: Container) -> Copies:
    """Return the names of source variables that a container wants; none if the label is invalid."""
    try:
        return env_copies(container.labels)
    except OptionError:
        return frozenset()


def problem(container: Container) -> str | None:
    """Return why a container cannot have the file at its path; None if it can, or wants none.

    For an archive call the engine mounts the container's volumes, but no file system in memory: a
    file that it puts below one is hidden from the container's programs (20 to 29).
    """
    path = path_of(container)
    if path is None or container.detail is None:
        return None
    mount = _mount_of(container, path)
    what = f"{ENV_FILE}: {path}"
    if mount == path:
        return f"{what} is a mount itself, so it can be written but not replaced"
    if mount in _plain(container.detail.tmpfs):
        return f"{what} is below {mount}, a file system in memory, which the engine cannot reach"
    if mount is not None and mount not in _plain(container.detail.writable):
        return f"{what} is below {mount}, which is mounted read-only"
    if mount is None and container.detail.read_only:
        return f"{what} is on a read-only root; name a path below a volume"
    return None


def below(container: Container, path: str) -> str:
    """Return the folder for the archive call: the mount that holds the file, or the root.

    With a read-only root, the engine refuses a call for the root folder even if the file lies on a
    writable mount below it.
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
    """Strip trailing slashes: engines keep `--tmpfs /run/` as given."""
    return {"/" + "/".join(filter(None, path.split("/"))) for path in paths if path != "/"}


def wish(recipient: Container, links: Iterable[Link]) -> tuple[object, ...]:
    """Return all inputs of the file's content but the sources' ports and environment.

    Those never change during a container's life, so relinkd need not ask the engine for them.
    """
    reached = ((link.declaration.alias, reached_at(link)) for link in links)
    told = ((alias, found[0].container, found[1]) for alias, found in reached if found)
    return recipient.name, *told
