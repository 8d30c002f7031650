"""Globs over containers: by name, or by Compose project and service."""

import re
from collections.abc import Iterable
from fnmatch import translate
from typing import Generic, TypeVar

from watchers.model import COMPOSE_PROJECT, COMPOSE_SERVICE, Container

T = TypeVar("T")

Identity = tuple[str, str | None]
"""What globs are matched against: a container's name, and its PROJECT/SERVICE if it has one."""

LONGEST = 255

_WILD = re.compile(r"[*?\[]")
_PART = re.compile(r"(?:[A-Za-z0-9_.*?-]|\[!?[A-Za-z0-9_.-]+\])+")


def is_wild(glob: str) -> bool:
    """Whether it can match more than one name."""
    return _WILD.search(glob) is not None


def glob_problem(glob: str) -> str | None:
    """Say why a glob can match no container, or None if it can."""
    parts = glob.split("/")
    if len(glob) > LONGEST or len(parts) > 2 or not all(map(_PART.fullmatch, parts)):  # noqa: PLR2004 - PROJECT/SERVICE
        return "is no glob over containers; write NAME or PROJECT/SERVICE, with *, ? or [a-z] in it"
    if "(?!)" in translate(glob):
        return "has a range that ends before it begins"
    return None


def identity(container: Container) -> Identity:
    """Return what globs see of a container. A one-off run is one of its service here, too."""
    project = container.labels.get(COMPOSE_PROJECT)
    service = container.labels.get(COMPOSE_SERVICE)
    return container.name, f"{project}/{service}" if project and service else None


class Globs(Generic[T]):
    """Things by the globs that they are for; those without wildcards are found at once."""

    def __init__(self, items: Iterable[tuple[str, T]] = ()) -> None:
        self._exact: dict[str, list[tuple[int, T]]] = {}
        self._wild: list[tuple[re.Pattern[str], bool, int, T]] = []
        for at, (glob, item) in enumerate(items):
            if is_wild(glob):
                self._wild.append((re.compile(translate(glob)), "/" in glob, at, item))
            else:
                self._exact.setdefault(glob, []).append((at, item))

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._exact or self._wild)

    def matching(self, of: Identity) -> tuple[T, ...]:
        """Return the things whose globs match, in their order."""
        name, service = of
        found = [*self._exact.get(name, ()), *self._exact.get(service or "", ())]
        for pattern, by_service, at, item in self._wild:
            subject = service if by_service else name
            if subject is not None and pattern.match(subject):
                found.append((at, item))
        return tuple(item for _, item in sorted(found, key=lambda each: each[0]))
