"""Finds the engine's `containers` directory on this machine."""

from collections.abc import Collection
from pathlib import Path

USUAL = Path("/var/lib/docker/containers")
"""Where engines keep it by default, and where relinkd's own image expects it."""


class DirectoryError(Exception):
    """No directory here is the engine's; the text has the engine's path (see `MEND`)."""


def find(given: str | None, said: str | None, ids: Collection[str]) -> Path:
    """Return the engine's directory: the given one, else the engine's own path, else the usual one.

    Args:
        given: The value of `--containers-dir`; None if it is not set.
        said: The engine's own path; None if the engine does not report it.
        ids: IDs of some containers of the engine, whose directories identify the right one.

    Raises:
        DirectoryError: The directory does not exist here, or belongs to another engine.
        PermissionError: This process may not read the directory.
    """
    theirs = f"the engine keeps its containers in {said}" if said is not None else _UNSAID
    if given is not None:
        folder = Path(given)
        if not folder.is_dir():
            raise DirectoryError(f"containers-dir: there is no directory {given} here; {theirs}")
        if ids and not _holds(folder, ids):
            what = f"{given} holds none of this engine's containers"
            raise DirectoryError(f"containers-dir: {what}; {theirs}")
        return folder
    places = [Path(said), USUAL] if said is not None else [USUAL]
    for folder in places:
        if folder.is_dir() and (_holds(folder, ids) or not ids):
            return folder
    raise DirectoryError(f"{theirs}, and that directory is not here")


_UNSAID = "the engine does not report where it keeps its containers"
MEND = (
    "Mount the engine's directory where relinkd runs, writable, and set --containers-dir to it. "
    "If it cannot be mounted, use --delivery exec --allow exec, which reaches fewer containers "
    "(docs/delivery.md)"
)


def _holds(folder: Path, ids: Collection[str]) -> bool:
    return any((folder / id_).is_dir() for id_ in ids)
