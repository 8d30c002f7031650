"""The interface of `relinkd.env-file` to the rest of relinkd."""

from collections.abc import AsyncIterator, Iterator

from reconciler.contract import Reconciler
from reconciler.feature import Cleaned, Feature, Leaving, Parts, Seen


class EnvFile(Feature):
    """A file in the recipient with the variables of its links."""

    powers = frozenset({"env-file"})
    read_by_recipients = True

    def reconciler(self, parts: Parts) -> Reconciler:
        """Return the reconciler of the files."""
        from reconciler.features.env_file.reconciler import EnvFiles

        return EnvFiles(parts.mirror, parts.graph, parts.reporter)

    def problems(self, seen: Seen) -> Iterator[str]:
        """Yield the files that cannot work at their paths, and why."""
        from reconciler.features.env_file.content import problem

        for container in sorted(seen.mirror.containers.values(), key=lambda each: each.name):
            if (reason := problem(container)) is not None:
                yield f"{container.name}: {reason}"

    def clean(self, leaving: Leaving) -> AsyncIterator[Cleaned]:
        """Remove the files."""
        from reconciler.features.env_file.clean import clean

        return clean(leaving)
