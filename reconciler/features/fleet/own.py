"""What this host writes of a container of its own: names, state, health, endpoints, ports."""

from collections.abc import Iterator
from typing import cast

from reconciler.links.options import PRIVATE
from reconciler.links.sources import owner_of
from watchers.mirror import Mirror
from watchers.model import COMPOSE_NUMBER, Container, Offer
from watchers.record import (
    ContainerKey,
    ContainerRecord,
    Health,
    OnNetwork,
    State,
    container_keys,
    encode,
    read_container,
)


def is_known(container: Container, mirror: Mirror) -> bool:
    """Whether relinkd knows where a container is now; until then its record stays as it is.

    After the engine was out of reach no address is known; that is no reason to withdraw it from
    other hosts. Nor is an address sure that only the container's own hosts file has.
    """
    holder = owner_of(container, mirror)
    if holder is None or not holder.running:
        return True
    return (
        mirror.places_known(holder)
        and not mirror.awaits_address(holder.id)
        and not mirror.is_provisional(holder.id)
        and mirror.is_inspected(container)
    )


def records_of(
    prefix: str, host: str, container: Container, ports: Offer, mirror: Mirror
) -> dict[str, bytes]:
    """Return the keys and values of a container of this host.

    Raises:
        BadRecordError: Other hosts would not read its record.
    """
    holder = owner_of(container, mirror)
    # A container in `container:x` mode has lost its interface when x started after it.
    reachable = (
        container.running
        and holder is not None
        and holder.running
        and (holder.id == container.id or container.started >= holder.started)
    )
    state = container.state if reachable or not container.running else "exited"
    mode = holder.network_mode if holder is not None else "none"
    detail, service = container.detail, container.service
    number = container.labels.get(COMPOSE_NUMBER)
    value = encode(
        ContainerRecord(
            state=cast("State", state),
            project=service[0] if service else None,
            service=service[1] if service else None,
            number=number if service else None,
            created=container.created,
            started=container.started,
            mode=mode if mode in ("host", "none") else "default",  # type: ignore[arg-type] # a Literal
            healthcheck=detail.has_healthcheck if detail else None,
            health=cast("Health", detail.health) if detail else None,
            networks=tuple(_networks(container, holder, mirror)) if reachable and holder else (),
            exposed=tuple(sorted(ports.exposed)),
            published={port: tuple(sorted(to)) for port, to in sorted(ports.published.items())},
        )
    )
    keys = dict.fromkeys(container_keys(prefix, host, container), value)
    if keys:
        read_container(ContainerKey(host, container.name, None), value)
    return keys


def _networks(container: Container, holder: Container, mirror: Mirror) -> Iterator[OnNetwork]:
    for id_, endpoint in sorted(mirror.endpoints(holder.id).items()):
        network = mirror.networks.get(id_)
        if network is None or network.ingress:
            continue
        problem = None
        if network.labels.get(PRIVATE, container.id) != container.id:
            problem = "private"
        elif not network.icc:
            problem = "icc"
        yield OnNetwork(id_, network.name, network.scope, endpoint.ipv4, endpoint.ipv6, problem)
