"""Wires up the loop and its reconcilers by the settings."""

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from itertools import islice
from logging import WARNING
from pathlib import Path
from typing import TYPE_CHECKING, Self

from reconciler import log
from reconciler.abroad import Abroad, Polls
from reconciler.contract import Change, InlineReconciler, Reconciler
from reconciler.early import EarlySignal
from reconciler.feature import Feature, Parts

# The features, a line each: to import one is to let it take part. A tuple of them would need a
# second line for each, or hide the imports from mypy and import-linter.
from reconciler.features.env_file.feature import EnvFile  # noqa: F401
from reconciler.features.fleet.feature import Fleet  # noqa: F401
from reconciler.features.host_names.feature import HostNames  # noqa: F401
from reconciler.features.on_change.feature import OnChange  # noqa: F401
from reconciler.features.private.feature import Private  # noqa: F401
from reconciler.hosts.files import HostsFiles
from reconciler.hosts.protocol import Files, Store
from reconciler.hosts.reconciler import LocalHosts
from reconciler.hosts.records import Records
from reconciler.hosts.store import LocalStore
from reconciler.links.graph import LinkGraph
from reconciler.links.options import Power, label_problems
from reconciler.loop import Loop
from reconciler.settings import Settings
from watchers.hostsfiles import HostsWatch
from watchers.mirror import HERE, Mirror
from watchers.model import Host
from watchers.observer import Observer
from watchers.sourcefiles import SourceFiles

if TYPE_CHECKING:
    from reconciler.engine_api import EngineApi
    from reconciler.fleet import Following
    from reconciler.hosts.exec import ExecHosts

MOST_TROUBLES = 100
"""Most hosts files in one answer to a command."""
FEATURES: Sequence[Feature] = [each() for each in Feature.__subclasses__()]


class Wiring:
    """The loop and its reconcilers, built by the settings."""

    def __init__(self, settings: Settings, mirror: Mirror, files: Files) -> None:
        self.observer: Observer | None = None
        """Inspects a container when its file shows a change."""
        self.mirror = mirror
        mirror.foreign.meet(Host("", routed=settings.routed))
        mirror.foreign.unheard.add(HERE)
        self.files = files
        self.graph = LinkGraph(settings.declared_by, settings.link)
        self.reporter = log.Reporter(mirror)
        self.early: EarlySignal | None = None
        self.fleet: Following | None = None
        self.hosts: LocalHosts | ExecHosts
        self._stack = ExitStack()
        self._labels = LabelCheck(mirror, self.reporter, settings.allow)
        self.listeners: list[Callable[[Change], None]] = [self._labels.changed]
        """Called with each change, before its keys are queued."""
        self.loop = Loop(mirror, self.graph, self.reporter, self.listeners)
        self.listeners.append(Abroad(mirror, self.graph, self._polls).changed)
        if settings.fleet is not None:
            self.fleet = _follow(settings, mirror, self.graph, self.loop)
            self.listeners.append(self.fleet.changed)
        self.records = Records(mirror, self.graph, self.reporter, self.loop.file_seen)
        if isinstance(files, HostsFiles):
            watch = self._stack.enter_context(HostsWatch())
            sources = self._stack.enter_context(SourceFiles(Path(files.told["containers_dir"])))
            self.early = EarlySignal(sources, mirror, self.graph)
            self.listeners.append(self.early.changed)
            self.hosts = LocalHosts(self.records, files, watch, self.reporter, self._ask)
        else:
            self.hosts = _exec_hosts(self.records, files)
        self.loop.add(self.hosts)
        self._add_features(settings, files)

    def __enter__(self) -> Self:
        """Return itself; the context manager closes it at its end."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close all reconcilers."""
        for reconciler in self.loop.reconcilers:
            if isinstance(reconciler, InlineReconciler):
                reconciler.close()
        self._stack.close()

    def has_failed(self, owner: str) -> bool:
        """Whether the last delivery to a running container's file failed."""
        container = self.mirror.containers.get(owner)
        running = container is not None and container.running
        return running and self.loop.trouble(self.hosts, owner) is not None

    def is_unsettled(self, owner: str) -> bool:
        """Whether a running container's file is not known to be right, for whatever reason."""
        container = self.mirror.containers.get(owner)
        running = container is not None and container.running
        return running and (self.has_failed(owner) or self.hosts.doubts(owner))

    def troubles(self) -> dict[str, str]:
        """Return why hosts files are not right, by the owner's ID, for a number of them."""
        asked = ((owner, self.loop.trouble(self.hosts, owner)) for owner in self.records)
        found = ((owner, reason) for owner, reason in asked if reason is not None)
        return dict(islice(found, MOST_TROUBLES))

    @property
    def outcomes(self) -> Counter[str]:
        """Return the number of looks at hosts files, by the outcome's name."""
        return self.hosts.outcomes

    def _ask(self, container: str) -> None:
        if self.observer is not None:
            self.observer.ask(container)

    def _polls(self) -> Polls | None:
        return self.observer.polls if self.observer is not None else None

    def _add_features(self, settings: Settings, files: Files) -> None:
        """Add the reconcilers of the allowed features."""
        read: list[Reconciler] = []
        """Reconcilers of files that must be right before a recipient is notified."""

        def is_changing(recipient: str) -> bool:
            return any(self.loop.is_due(each, recipient) for each in read)

        store = hosts_store(files)
        parts = Parts(settings, self.mirror, self.graph, self.reporter, store, is_changing)
        for feature in allowed(settings):
            reconciler = feature.reconciler(parts)
            self.loop.add(reconciler)
            if feature.read_by_recipients:
                read.append(reconciler)


def allowed(settings: Settings) -> list[Feature]:
    """Return the features that the settings allow."""
    return [feature for feature in FEATURES if feature.is_allowed(settings)]


def _follow(settings: Settings, mirror: Mirror, graph: LinkGraph, loop: Loop) -> "Following":
    from reconciler.fleet import FleetListener, Following  # noqa: PLC0415 - only with a store

    return Following(settings, mirror, graph, FleetListener(loop))


def _exec_hosts(records: Records, files: Files) -> "ExecHosts":
    from reconciler.hosts.exec import ExecFiles, ExecHosts  # noqa: PLC0415 - only where chosen

    if not isinstance(files, ExecFiles):
        raise TypeError(files)
    return ExecHosts(records, files)


def hosts_store(files: Files) -> Callable[["EngineApi"], Store]:
    """Return a factory of the hosts files that a feature reads and rewrites."""
    if isinstance(files, HostsFiles):
        store = LocalStore(files)
        return lambda _: store
    from reconciler.hosts.exec import ExecStore  # noqa: PLC0415 - only where chosen

    return ExecStore


class LabelCheck:
    """Logs the label problems of each container, once."""

    def __init__(self, mirror: Mirror, reporter: log.Reporter, allow: Collection[Power]) -> None:
        self._mirror = mirror
        self._reporter = reporter
        self._allow = allow
        self._checked: set[str] = set()

    def changed(self, change: Change) -> None:
        """Check the containers that are new."""
        for id_ in change.containers:
            container = self._mirror.containers.get(id_)
            if container is None:
                self._checked.discard(id_)
            elif id_ not in self._checked:
                self._checked.add(id_)
                for problem in label_problems(container, self._allow):
                    self._reporter.say(
                        WARNING, id_, log.LABEL_PROBLEM, subject="recipient", problem=problem
                    )
