"""Engine JSON to model. Fields missing, null or of another type become their empty value."""

import ipaddress
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

from watchers.model import (
    Attachment,
    Container,
    Detail,
    Endpoint,
    EngineLink,
    Hint,
    Network,
    Offer,
)

T = TypeVar("T")

_MAX_TEXT = 4096
"""No name, path or word of ours is longer; labels keep their own length."""


def _get(value: object, *path: str, kind: type[T], default: T) -> T:
    """Follow `path` through dicts; `default` where it breaks off or ends in another type."""
    for key in path:
        if not isinstance(value, dict):
            return default
        value = value.get(key)
    if isinstance(value, bool) and kind is not bool:
        return default
    return value if isinstance(value, kind) else default


def _text(value: object, *path: str) -> str:
    found = _get(value, *path, kind=str, default="")
    return found if len(found) <= _MAX_TEXT else ""


def _texts(value: object, *path: str) -> tuple[str, ...]:
    items: list[Any] = _get(value, *path, kind=list, default=[])
    return tuple(item for item in items if isinstance(item, str) and len(item) <= _MAX_TEXT)


def _labels(value: object, *path: str) -> Mapping[str, str]:
    found: dict[Any, Any] = _get(value, *path, kind=dict, default={})
    return {k: v for k, v in found.items() if isinstance(k, str) and isinstance(v, str)}


def _dicts(value: object, *path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    found: dict[Any, Any] = _get(value, *path, kind=dict, default={})
    return ((k, v) for k, v in found.items() if isinstance(k, str) and isinstance(v, dict))


def _address(text: str) -> str | None:
    """`172.17.0.2/16` or `fd00::2/64` to the bare address in its canonical form."""
    try:
        address = ipaddress.ip_address(text.partition("/")[0])
    except ValueError:
        return None
    # A zone (`fe80::1%eth0`) is of another namespace, and may be any text.
    return None if "%" in str(address) else str(address)


def _name(names: tuple[str, ...]) -> str:
    """Pick a container's own name: the others, `/recipient/alias`, are its `--link`s (20 to 29)."""
    for name in names:
        bare = name.removeprefix("/")
        if "/" not in bare:
            return bare
    return names[0].removeprefix("/") if names else ""


def parse_listed(item: object) -> Container | None:
    """Read one item of `GET /containers/json`; None where it has no ID."""
    if not (container_id := _text(item, "Id")):
        return None
    mounts: list[Any] = _get(item, "Mounts", kind=list, default=[])
    return Container(
        id=container_id,
        name=_name(_texts(item, "Names")),
        labels=_labels(item, "Labels"),
        created=_get(item, "Created", kind=int, default=0) * 10**9,
        state=_text(item, "State"),
        network_mode=_text(item, "HostConfig", "NetworkMode") or "default",
        mounts=frozenset(_text(mount, "Destination") for mount in mounts),
        networks=tuple(name for name, _ in _dicts(item, "NetworkSettings", "Networks")),
    )


def parse_list(answer: object) -> tuple[Container, ...]:
    """Read `GET /containers/json`."""
    items: list[Any] = answer if isinstance(answer, list) else []
    return tuple(parsed for item in items if (parsed := parse_listed(item)) is not None)


def _nanoseconds(text: str) -> int:
    """Nanoseconds since the epoch from the engine's RFC 3339 text in UTC; 0 where it is none.

    Split by hand: datetime knows no nanoseconds, and two containers of one second must still sort.
    """
    head, _, fraction = text.removesuffix("Z").partition(".")
    try:
        seconds = int(datetime.fromisoformat(head).replace(tzinfo=UTC).timestamp())
        return max(0, seconds * 10**9 + int(fraction.ljust(9, "0")[:9] or "0"))
    except ValueError:
        return 0


def _engine_link(text: str) -> EngineLink | None:
    """`/db:/web/webdb` to `db`, `webdb`: the alias is the path's last part (engine, ParseLink)."""
    source, colon, path = text.partition(":")
    alias = path.rpartition("/")[2]
    source = source.removeprefix("/")
    return EngineLink(source, alias) if colon and source and alias else None


def _attachment(name: str, value: dict[str, Any]) -> Attachment:
    return Attachment(
        network=name,
        network_id=_text(value, "NetworkID"),
        links=_texts(value, "Links"),
        # Aliases lost the short ID in API 1.45, DNSNames came in 1.44: DNS answers to both.
        names=tuple(dict.fromkeys(_texts(value, "Aliases") + _texts(value, "DNSNames"))),
        gw_priority=_get(value, "GwPriority", kind=int, default=0),
    )


def parse_inspected(answer: object) -> Container | None:
    """Read `GET /containers/{id}/json`; None where it has no ID."""
    if not (container_id := _text(answer, "Id")):
        return None
    mounts: list[Any] = _get(answer, "Mounts", kind=list, default=[])
    links = (_engine_link(text) for text in _texts(answer, "HostConfig", "Links"))
    check = _get(answer, "Config", "Healthcheck", "Test", kind=list, default=[])
    attachments = tuple(
        _attachment(name, value) for name, value in _dicts(answer, "NetworkSettings", "Networks")
    )
    return Container(
        id=container_id,
        name=_name((_text(answer, "Name"),)),
        labels=_labels(answer, "Config", "Labels"),
        created=_nanoseconds(_text(answer, "Created")),
        started=_nanoseconds(_text(answer, "State", "StartedAt")),
        state=_text(answer, "State", "Status"),
        network_mode=_text(answer, "HostConfig", "NetworkMode") or "default",
        mounts=frozenset(_text(mount, "Destination") for mount in mounts),
        networks=tuple(attachment.network for attachment in attachments),
        detail=Detail(
            hostname=_text(answer, "Config", "Hostname"),
            hosts_path=_text(answer, "HostsPath"),
            links=tuple(link for link in links if link is not None),
            attachments=attachments,
            has_healthcheck=bool(check) and check[0] != "NONE",
            health=_text(answer, "State", "Health", "Status") or None,
            read_only=_get(answer, "HostConfig", "ReadonlyRootfs", kind=bool, default=False),
            writable=frozenset(_destinations(mounts, in_memory=False)),
            tmpfs=frozenset(
                [
                    *_destinations(mounts, in_memory=True),
                    *_labels(answer, "HostConfig", "Tmpfs"),
                ]
            ),
        ),
    )


def _destinations(mounts: list[Any], *, in_memory: bool) -> Iterator[str]:
    """Yield where file systems in memory are mounted, or else all others that may be written."""
    for mount in mounts:
        if (_text(mount, "Type") == "tmpfs") is in_memory and (
            in_memory or _get(mount, "RW", kind=bool, default=False)
        ):
            yield _text(mount, "Destination")


def parse_offer(answer: object) -> Offer | None:
    """Read of `GET /containers/{id}/json` what others may be told; None where it has no ID."""
    if not _text(answer, "Id"):
        return None
    env: list[Any] = _get(answer, "Config", "Env", kind=list, default=[])
    exposed: dict[Any, Any] = _get(answer, "Config", "ExposedPorts", kind=dict, default={})
    ports: dict[Any, Any] = _get(answer, "NetworkSettings", "Ports", kind=dict, default={})
    bound = {port: _bindings(found) for port, found in ports.items() if isinstance(port, str)}
    return Offer(
        running=_get(answer, "State", "Running", kind=bool, default=False),
        # Of any length: a certificate in a variable is no mistake.
        env=tuple(entry for entry in env if isinstance(entry, str)),
        exposed=tuple(port for port in exposed if isinstance(port, str)),
        published={port: found for port, found in bound.items() if found},
    )


def _bindings(value: object) -> tuple[tuple[str, str], ...]:
    """Read where one port is published; null is a port that is only exposed."""
    items: list[Any] = value if isinstance(value, list) else []
    found = ((_text(item, "HostIp"), _text(item, "HostPort")) for item in items)
    return tuple((address, port) for address, port in found if port)


def _gateway(pool: object) -> str | None:
    """Return an IPAM pool's gateway.

    20.10 names none of the default bridge, nor does any engine up to 28 of an IPv6 pool: it is the
    first address then.
    """
    if named := _address(_text(pool, "Gateway")):
        return named
    try:
        return str(ipaddress.ip_network(_text(pool, "Subnet"), strict=False)[1])
    except (ValueError, IndexError):
        return None


def parse_network(answer: object) -> tuple[Network, dict[str, Endpoint]] | None:
    """Read `GET /networks/{id}`; None where it has no ID. Endpoints are keyed by container ID."""
    if not (network_id := _text(answer, "Id")):
        return None
    pools: list[Any] = _get(answer, "IPAM", "Config", kind=list, default=[])
    gateways = (_gateway(pool) for pool in pools)
    network = Network(
        id=network_id,
        name=_text(answer, "Name"),
        driver=_text(answer, "Driver"),
        internal=_get(answer, "Internal", kind=bool, default=False),
        gateways=tuple(gateway for gateway in gateways if gateway),
        subnets=tuple(filter(None, (_text(pool, "Subnet") for pool in pools))),
        labels=_labels(answer, "Labels"),
    )
    endpoints = {}
    for container, value in _dicts(answer, "Containers"):
        endpoint = Endpoint(
            _address(_text(value, "IPv4Address")), _address(_text(value, "IPv6Address"))
        )
        # An endpoint without an address is there for an instant at both ends of its life.
        if endpoint.ipv4 or endpoint.ipv6:
            endpoints[container] = endpoint
    return network, endpoints


def parse_network_ids(answer: object) -> frozenset[str]:
    """Read `GET /networks`."""
    items: list[Any] = answer if isinstance(answer, list) else []
    return frozenset(filter(None, (_text(item, "Id") for item in items)))


def parse_event(event: object) -> Hint | None:
    """Read one event; None for what is no event of a container or network.

    Only Type, Action, Actor and timeNano are read: `id`, `status`, `from` are gone at API 1.52.
    A container's attributes are its labels, overwritten by `name` and `image`, so a label can
    pose as `oldName`: it is only ever a hint.
    """
    kind, action = _text(event, "Type"), _text(event, "Action")
    actor = _text(event, "Actor", "ID")
    attributes = _labels(event, "Actor", "Attributes")
    time_ns = _get(event, "timeNano", kind=int, default=0)
    if not action or not actor:
        return None
    if kind == "network":
        return Hint(action, attributes.get("container", ""), actor, time_ns)
    if kind == "container":
        return Hint(
            action,
            actor,
            time_ns=time_ns,
            name=attributes.get("name", ""),
            old_name=attributes.get("oldName", "").removeprefix("/"),
            labels=attributes,
        )
    return None
