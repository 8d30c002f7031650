"""The interface of `relinkd.on-change` to the rest of relinkd."""

from collections.abc import Iterable

from reconciler.contract import Reconciler
from reconciler.feature import Feature, Parts, Seen


class OnChange(Feature):
    """Recipients that are notified when an address changes."""

    powers = frozenset({"exec", "signal", "restart"})

    def reconciler(self, parts: Parts) -> Reconciler:
        """Return the reconciler that notifies them."""
        from reconciler.features.on_change.reconciler import Notifier

        allow = {*parts.settings.allow}
        return Notifier(parts.mirror, parts.graph, parts.reporter, allow, is_due=parts.is_changing)

    def problems(self, seen: Seen) -> Iterable[str]:
        """Return the containers that ask for notification and would get none, and why."""
        from reconciler.features.on_change.owed import problems

        return problems(seen.graph, seen.mirror, seen.settings.allow)
