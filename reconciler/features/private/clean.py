"""`relinkd clean` for private networks: finds them by relinkd's label."""

from collections.abc import AsyncIterator

from reconciler.engine_api import EngineApi
from reconciler.feature import Cleaned, Leaving
from reconciler.features.private.networks import ours
from reconciler.features.private.reconciler import unmake
from watchers.errors import EngineFailedError, NotFoundError


async def clean(leaving: Leaving) -> AsyncIterator[Cleaned]:
    """Remove relinkd's networks."""
    api = EngineApi(leaving.engine)
    for network in ours(leaving.mirror):
        what = f"private network {network.name}"
        if leaving.dry_run:
            yield Cleaned(f"{what} would be removed")
            continue
        try:
            await unmake(network, api, leaving.mirror, leaving.store(api))
        except NotFoundError:
            pass
        except EngineFailedError as error:
            mend = f"docker network rm {network.name}"
            yield Cleaned(f"{what} not removed: {error}; {mend}", "failed")
            continue
        yield Cleaned(f"{what} removed")
