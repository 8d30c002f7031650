"""From links to variables: asks the engine, by GET, for the ports of each source."""

from collections.abc import Awaitable, Callable, Iterable
from typing import NamedTuple

import anyio

from reconciler.links.options import Copies
from reconciler.links.reach import Link
from reconciler.links.variables import Style, Variable, copied, reached_at, variables
from watchers.errors import EngineError, first_of
from watchers.mirror import Mirror
from watchers.model import Container, Offer

Ask = Callable[[str], Awaitable[Offer | None]]
"""`Engine.offer`, or a wrapper that waits for a free slot."""


class LinkVariables(NamedTuple):
    """The variables of one link."""

    link: Link
    variables: list[Variable]
    missing: str = ""
    """Why there are none; empty if there are."""


def asking(mirror: Mirror, ask: Ask) -> Ask:
    """Return how to ask for a source's offer; another host's store has its ports, nothing else."""

    async def offer(source: str) -> Offer | None:
        told = mirror.foreign.told(source)
        if told is not None:
            return Offer(told.container.running, exposed=told.exposed, published=told.published)
        return await ask(source)

    return offer


async def variables_of(
    links: Iterable[Link], recipient: Container, style: Style, copies: Copies, ask: Ask
) -> list[LinkVariables]:
    """Return the variables of each link, in the links' order; ask for all sources at once.

    Raises:
        EngineError: A question failed; no other question is in flight any more.
    """
    every = list(links)
    found: dict[int, LinkVariables] = {}

    async def one(at: int, link: Link) -> None:
        reached = reached_at(link)
        if reached is None:
            reason = link.reason or "no address of the family it asks for"
            found[at] = LinkVariables(link, [], f"{link.state}: {reason}")
            return
        target, address = reached
        offer = await ask(target.container)
        if offer is None:
            found[at] = LinkVariables(link, [], f"{target.name} has just been removed")
            return
        name = f"/{recipient.name}/{link.declaration.alias}"
        env = copied(offer.env, copies)
        found[at] = LinkVariables(link, variables(style, name, address, offer.exposed, env))

    failed: EngineError | None = None
    try:
        async with anyio.create_task_group() as tasks:
            for at, link in enumerate(every):
                tasks.start_soon(one, at, link)
    except* EngineError as group:
        failed = first_of(group)
    if failed is not None:  # `except*` would put it into a group again
        raise failed
    return [found[at] for at in range(len(every))]
