"""Globs that match containers by name, or by Compose project and service."""

import re
from collections.abc import Iterable
from fnmatch import translate
from typing import Generic, TypeVar

from watchers.model import COMPOSE_PROJECT, COMPOSE_SERVICE, Container

T = TypeVar("T")

Identity = tuple[str, str | None]
"""The texts that a glob may match: a container's name, and its PROJECT/SERVICE if it has one."""

LONGEST = 255

_WILD = re.compile(r"[*?\[]")
_PART = re.compile(r"(?:[A-Za-z0-9_.*?-]|\[!?[A-Za-z0-9_.-]+\])+")


def is_wild(glob: str) -> bool:
    """Whether a glob can match more than one name."""
    return _WILD.search(glob) is not None


def glob_problem(glob: str) -> str | None:
    """Return why a glob cannot match any container; None if it can."""
    parts = glob.split("/")
    if len(glob) > LONGEST or len(parts) > 2 or not all(map(_PART.fullmatch, parts)):  # noqa: PLR2004 - PROJECT/SERVICE
        return "is not a container glob; write NAME or PROJECT/SERVICE, with *, ? or [a-z] in it"
    if "(?!)" in translate(glob):
        return "has a range that ends before it begins"
    return None


def identity(container: Container) -> Identity:
    """Return the texts that globs match; a one-off run counts as its service, too."""
    project = container.labels.get(COMPOSE_PROJECT)
    service = container.labels.get(COMPOSE_SERVICE)
    return container.name, f"{project}/{service}" if project and service else None


class Globs(Generic[T]):
    """Items by glob; globs without wildcards are looked up in a dict."""

    def __init__(self, items: Iterable[tuple[str, T]] = ()) -> None:
        self._exact: dict[str, list[tuple[int, T]]] = {}
        self._wild: list[tuple[re.Pattern[str], bool, int, T]] = []
        for at, (glob, item) in enumerate(items):
            if is_wild(glob):
                self._wild.append((re.compile(translate(glob)), "/" in glob, at, item))
            else:
                self._exact.setdefault(glob, []).append((at, item))

    def __bool__(self) -> bool:
        """Whether there are any items."""
        return bool(self._exact or self._wild)

    def matching(self, of: Identity) -> tuple[T, ...]:
        """Return the items with a matching glob, in their order."""
        name, service = of
        found = [*self._exact.get(name, ()), *self._exact.get(service or "", ())]
        for pattern, by_service, at, item in self._wild:
            subject = service if by_service else name
            if subject is not None and pattern.match(subject):
                found.append((at, item))
        return tuple(item for _, item in sorted(found, key=lambda each: each[0]))
