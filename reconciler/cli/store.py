"""What `relinkd check` says of a fleet's store."""

from dataclasses import dataclass

import anyio

from reconciler.fleet_access import access
from reconciler.fleet_values import NoAccessError
from reconciler.links.text import plain
from reconciler.settings import Settings
from watchers.etcd import StoreError, open_store
from watchers.roster import roster


@dataclass(frozen=True, slots=True)
class Seen:
    """The store's condition."""

    note: str | None
    problems: list[str]


def look(settings: Settings) -> Seen:
    """Ask the store who is in the fleet."""

    async def asking() -> Seen:
        async with open_store(access(settings)) as store:
            members = await roster(store)
            open_ = "" if store.asks_for_users else "; whoever reaches it may read and write it"
            return Seen(
                f"store etcd {store.version} at {store.member}, prefix {settings.fleet_prefix}: "
                f"{len(members)} hosts{open_}",
                [
                    f"store: hosts/{plain(each.host)}: {plain(each.problem)}"
                    for each in members
                    if each.problem is not None
                ],
            )

    try:
        return anyio.run(asking)
    except (NoAccessError, StoreError) as error:
        return Seen(None, [f"store: {error}"])
