"""From links to variables: what each source exposes is asked of the engine, by GET."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import NamedTuple

from reconciler.core.envfile import copied
from reconciler.core.options import Copies
from reconciler.core.resolve import Link
from reconciler.core.variables import Style, Variable, told_of, variables
from watchers.model import Container, Offer

Ask = Callable[[str], Awaitable[Offer | None]]
"""`Engine.offer`, or one that is more patient."""


class Told(NamedTuple):
    """What one link tells."""

    link: Link
    variables: list[Variable]
    missing: str = ""
    """Why there are none."""


async def tell(
    links: Iterable[Link], recipient: Container, style: Style, copies: Copies, ask: Ask
) -> list[Told]:
    """Return what each link tells, in their order; the sources are asked all at once.

    Raises:
        EngineError: of a source it could not be found out.
    """

    async def one(link: Link) -> Told:
        reached = told_of(link)
        if reached is None:
            reason = link.reason or "no address of the family it asks for"
            return Told(link, [], f"{link.state}: {reason}")
        target, address = reached
        offer = await ask(target.container)
        if offer is None:
            return Told(link, [], f"{target.name} has just been removed")
        name = f"/{recipient.name}/{link.declaration.alias}"
        env = copied(offer.env, copies)
        return Told(link, variables(style, name, address, offer.exposed, env))

    return await asyncio.gather(*map(one, links))
