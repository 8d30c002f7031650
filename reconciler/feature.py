"""The interface of a feature to the rest of relinkd: one object for each feature.

The object is in `feature.py` of the feature's folder, and wiring.py imports it. Its methods import
the feature's other modules, so that relinkd loads no code of a feature that is not allowed.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

from reconciler.contract import Reconciler
from reconciler.hosts.protocol import Store
from reconciler.links.graph import LinkGraph
from reconciler.links.options import Power
from reconciler.log import Reporter
from reconciler.settings import Settings
from watchers.engine import Engine
from watchers.mirror import Mirror

if TYPE_CHECKING:
    from reconciler.engine_api import EngineApi


@dataclass(frozen=True, slots=True)
class Parts:
    """The daemon's parts that a feature's reconciler uses."""

    settings: Settings
    mirror: Mirror
    graph: LinkGraph
    reporter: Reporter
    store: Callable[["EngineApi"], Store]
    """The hosts files."""
    is_changing: Callable[[str], bool]
    """Whether another feature is about to change a file that a recipient reads."""


@dataclass(frozen=True, slots=True)
class Seen:
    """The result of a command's full look at the engine."""

    settings: Settings
    engine: Engine
    mirror: Mirror
    graph: LinkGraph


@dataclass(frozen=True, slots=True)
class Leaving(Seen):
    """The data and tools of `relinkd clean`."""

    store: Callable[["EngineApi"], Store]
    """The hosts files of containers."""
    dry_run: bool


class Cleaned(NamedTuple):
    """The result for one thing that `relinkd clean` removes."""

    text: str
    how: Literal["done", "failed", "note"] = "done"


class Feature(ABC):
    """One kind of delivery beyond the hosts files of recipients."""

    powers: ClassVar[frozenset[Power]]
    """The feature is allowed if `--allow` names one of them."""
    read_by_recipients: ClassVar[bool] = False
    """Whether its keys are recipients that read what it delivers."""
    adds_networks: ClassVar[bool] = False
    """Whether links may go over networks that it makes: `sync` looks at the engine once more."""

    def is_allowed(self, settings: Settings) -> bool:
        """Return whether the settings allow the feature."""
        return not self.powers.isdisjoint(settings.allow)

    @abstractmethod
    def reconciler(self, parts: Parts) -> Reconciler:
        """Return its reconciler for the daemon."""

    def unready(self, settings: Settings) -> str | None:  # noqa: ARG002 - few need anything
        """Return what prevents the daemon's start; None if nothing does."""
        return None

    def notes(self, seen: Seen) -> Iterable[str]:  # noqa: ARG002 - few have any
        """Return the notes of `check` that are not problems."""
        return ()

    def problems(self, seen: Seen) -> Iterable[str]:  # noqa: ARG002 - as above
        """Return the problems of declarations, for `check` and `status`."""
        return ()

    def check(self, seen: Seen) -> Iterable[str]:  # noqa: ARG002 - as above
        """Return other problems, for `check` only; called even if the feature is not allowed."""
        return ()

    async def clean(self, leaving: Leaving) -> AsyncIterator[Cleaned]:  # noqa: ARG002 - as above
        """Remove all that the feature made, allowed now or not, and yield each result."""
        nothing: tuple[Cleaned, ...] = ()
        for each in nothing:
            yield each
