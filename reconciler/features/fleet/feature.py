"""The interface of publishing in a fleet's store to the rest of relinkd."""

from reconciler.contract import Reconciler
from reconciler.feature import Feature, Parts
from reconciler.settings import Settings


class Fleet(Feature):
    """This host's containers, published in the store that the fleet shares."""

    powers = frozenset()

    def is_allowed(self, settings: Settings) -> bool:
        """Return whether there is a store: nothing at the engine is changed."""
        return settings.fleet is not None

    def reconciler(self, parts: Parts) -> Reconciler:
        """Return the reconciler that publishes them."""
        from reconciler.features.fleet.reconciler import Publisher
        from reconciler.fleet_access import access

        return Publisher(parts.settings, access(parts.settings), parts.mirror)

    def unready(self, settings: Settings) -> str | None:
        """Return why the store's files cannot be used."""
        from reconciler.fleet_access import problem

        return problem(settings)
