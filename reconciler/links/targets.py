"""Where a recipient reaches a source, or why it does not; and the networks that a link may use."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from reconciler.links.declare import Declaration
from watchers.mirror import Mirror
from watchers.model import (
    COMPOSE_NETWORK,
    COMPOSE_PROJECT,
    Container,
    Endpoint,
    Family,
    Network,
)

OWNER_GONE = "the container whose network it uses is gone"
INGRESS = "is Swarm's own network for published ports"


class Target(NamedTuple):
    """One source container at the addresses at which the recipient reaches it."""

    container: str
    name: str
    network: str
    ipv4: str | None
    ipv6: str | None
    host: str = ""
    """The host that runs it, if that is another one."""

    def address(self, family: Family) -> str | None:
        """Return the address of that family; None if there is none."""
        return self.ipv4 if family == 4 else self.ipv6  # noqa: PLR2004 - IPv4


@dataclass(frozen=True, slots=True)
class Missed:
    """Why the recipient cannot reach one source container."""

    state: Literal["down", "unreachable", "refused", "failed"]
    reason: str
    known: bool = True


def unanswered(name: str, what: str) -> Missed:
    """Return that an answer of the engine is missing: the lines of the file stay as they are."""
    reason = f"the engine has not answered for the {what} of {name} yet"
    return Missed("failed", reason, known=False)


@dataclass(frozen=True, slots=True)
class Place:
    """A hosts file's owner and the owner's networks."""

    owner: Container
    networks: Sequence[Network]
    """In order of preference."""
    known: bool
    """Whether the engine has answered for all of them."""


def of_family(declaration: Declaration, endpoint: Endpoint) -> bool:
    """Whether an endpoint has an address of a family that the declaration allows."""
    return any(endpoint.address(family) for family in declaration.families)


def unhealthy(source: Container, mirror: Mirror) -> Missed | None:
    """Return why a source is not healthy, for a link that waits for that; None if it is."""
    detail = source.detail
    if source.host and not mirror.foreign.has_record(source.id):
        return Missed("refused", f"Swarm tells no health of {source.title}: that needs --fleet")
    if detail is None:
        return unanswered(source.title, "health")
    if not detail.has_healthcheck:
        return Missed("refused", f"{source.title} has no HEALTHCHECK to wait for")
    # The engine calls each paused container unhealthy, and tells no event of it.
    if source.running and source.state != "paused" and detail.health != "healthy":
        if not mirror.is_inspected(source):
            return unanswered(source.title, "health")
        return Missed("down", f"{source.title} is {detail.health or 'starting'}")
    return None


def networks_for(declaration: Declaration, networks: Sequence[Network]) -> Sequence[Network]:
    """Return the recipient's networks that a declaration may use."""
    if declaration.network is None:
        return networks
    by_name = {network.name: network for network in networks}
    names = [declaration.network]
    if declaration.project is not None:
        names.insert(0, f"{declaration.project}_{declaration.network}")
        # The network's key in the Compose file, where the file gives it another name.
        names[1:1] = [
            network.name
            for network in networks
            if network.labels.get(COMPOSE_NETWORK) == declaration.network
            and network.labels.get(COMPOSE_PROJECT) == declaration.project
        ]
    return [by_name[name] for name in names if name in by_name][:1]
