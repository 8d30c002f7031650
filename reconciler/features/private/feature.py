"""The interface of `relinkd.private` to the rest of relinkd."""

from collections.abc import AsyncIterator, Iterator

from reconciler.contract import Reconciler
from reconciler.feature import Cleaned, Feature, Leaving, Parts, Seen


class Private(Feature):
    """An internal network for each source and its recipients."""

    powers = frozenset({"private"})
    adds_networks = True

    def reconciler(self, parts: Parts) -> Reconciler:
        """Return the reconciler of the networks."""
        from reconciler.features.private.reconciler import PrivateNetworks

        pool = parts.settings.private_pool
        return PrivateNetworks(parts.mirror, parts.graph, parts.reporter, pool, parts.store)

    def notes(self, seen: Seen) -> Iterator[str]:
        """Yield the limits of private networks on this engine."""
        from reconciler.features.private.networks import filters_ipv6

        if not filters_ipv6(seen.engine.version):
            yield "private networks have IPv4 only: this engine does not filter IPv6"

    def check(self, seen: Seen) -> Iterator[str]:
        """Yield why containers get no network, and the networks that relinkd no longer keeps."""
        from reconciler.features.private.networks import ours, problems

        if self.is_allowed(seen.settings):
            yield from problems(seen.graph, seen.mirror)
        elif left := [network.name for network in ours(seen.mirror)]:
            yield (
                f"{', '.join(left)}: private networks without a keeper, since relinkd runs "
                "without --allow private: `relinkd clean` removes them and everything else that "
                "relinkd made"
            )

    def clean(self, leaving: Leaving) -> AsyncIterator[Cleaned]:
        """Remove the networks."""
        from reconciler.features.private.clean import clean

        return clean(leaving)
