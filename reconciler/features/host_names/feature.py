"""The interface of `relinkd.host-names` to the rest of relinkd."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from reconciler.contract import Reconciler
from reconciler.feature import Cleaned, Feature, Leaving, Parts, Seen
from reconciler.settings import Settings


class HostNames(Feature):
    """Names of containers in the host's own hosts file."""

    powers = frozenset({"host-names"})

    def reconciler(self, parts: Parts) -> Reconciler:
        """Return the reconciler of the file."""
        from reconciler.features.host_names.reconciler import HostNamesKeeper

        settings = parts.settings
        path, suffix = _path(settings), settings.host_names_suffix
        return HostNamesKeeper(parts.mirror, parts.reporter, path, suffix)

    def unready(self, settings: Settings) -> str | None:
        """Return why relinkd cannot keep the file; None if it can."""
        from reconciler.features.host_names.host_file import HostFile

        return HostFile(Path(_path(settings))).problem()

    def check(self, seen: Seen) -> Iterator[str]:
        """Yield what keeps names out of the file."""
        if not self.is_allowed(seen.settings):
            return
        from reconciler.features.host_names.host_file import HostFile
        from reconciler.features.host_names.names import problems

        file = HostFile(Path(_path(seen.settings)))
        if problem := file.problem():
            yield problem
        yield from problems(seen.mirror, seen.settings.host_names_suffix, file.read())

    def clean(self, leaving: Leaving) -> AsyncIterator[Cleaned]:
        """Remove relinkd's block from the file."""
        from reconciler.features.host_names.clean import clean

        return clean(leaving)


def _path(settings: Settings) -> str:
    """Return the file's path; checked settings have it if they allow the feature."""
    return settings.host_names_file or ""
