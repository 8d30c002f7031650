"""Engine JSON to model values: `wire` decodes the bytes, this module interprets them."""

import ipaddress
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from sys import intern

from msgspec import UNSET

from watchers import wire
from watchers.model import (
    WITHOUT_DNS,
    Attachment,
    Container,
    Detail,
    Endpoint,
    EngineLink,
    Hint,
    Network,
    Offer,
    Task,
)
from watchers.swarm import tasks_of
from watchers.texts import canonical, short, texts, word

ICC = "com.docker.network.bridge.enable_icc"
GATEWAY_MODE = "com.docker.network.bridge.gateway_mode_ipv{}"
INHIBIT = "com.docker.network.bridge.inhibit_ipv4"
TRUSTED = "com.docker.network.bridge.trusted_host_interfaces"
_OPEN_MODES = ("routed", "nat-unprotected")
_TRUE, _FALSE = frozenset({"true", "t", "1"}), frozenset({"false", "f", "0"})
"""The texts that Go reads as true and false, in lower case."""
_CONTAINER_ID = re.compile("[0-9a-f]{64}").fullmatch
_NONE: frozenset[str] = frozenset()
"""One shared object: each empty frozenset takes 216 bytes."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)
_FRACTION = re.compile("[.]([0-9]{1,9})").search


def _labels(found: Mapping[str, str] | None) -> Mapping[str, str]:
    """Share keys and values: most of Compose's labels are the same in many containers."""
    return {intern(key): intern(value) for key, value in found.items()} if found else {}


def _set(texts: Iterable[str]) -> frozenset[str]:
    return frozenset(texts) or _NONE


def _name(names: tuple[str, ...]) -> str:
    """Return a container's own name; names as `/recipient/alias` are its `--link`s (20 to 29)."""
    for name in names:
        bare = name.removeprefix("/")
        if "/" not in bare:
            return bare
    return names[0].removeprefix("/") if names else ""


def parse_list(body: bytes) -> tuple[Container, ...] | None:
    """Read `GET /containers/json` without items that lack an ID; None if it is not a list.

    Raises:
        MalformedError: The body is not JSON.
    """
    items = wire.decode(body, wire.LIST)
    return None if items is None else tuple(_listed(item) for item in items if short(item.Id))


def _listed(item: wire.ListedContainer) -> Container:
    mode = (short(item.HostConfig.NetworkMode) or "default") if item.HostConfig else ""
    networks = item.NetworkSettings.Networks or {} if item.NetworkSettings else {}
    return Container(
        id=intern(item.Id),
        name=_name(texts(item.Names)),
        labels=_labels(item.Labels),
        created=item.Created * 10**9,
        state=intern(word(item.State)),
        network_mode=intern(mode),
        mounts=_set(short(mount.Destination) for mount in item.Mounts or ()),
        networks=tuple(intern(name) for name, value in networks.items() if value is not None),
    )


def _nanoseconds(text: str) -> int:
    """Return the nanoseconds since the epoch of an RFC 3339 text; 0 if invalid or before 1970.

    Docker writes UTC, Podman the host's zone. This reads the fraction itself: datetime has no
    nanoseconds, and two containers of the same second must still sort.
    """
    try:
        when = datetime.fromisoformat(short(text))
        seconds = (when if when.tzinfo else when.replace(tzinfo=UTC)) - _EPOCH
    except (ValueError, OverflowError):
        return 0
    fraction = _FRACTION(text)
    return max(0, seconds // _SECOND * 10**9 + int(fraction[1].ljust(9, "0") if fraction else 0))


def _engine_link(text: str) -> EngineLink | None:
    """Read `/db:/web/webdb` as `db` and `webdb`; the alias is the path's last part."""
    source, colon, path = text.partition(":")
    alias = path.rpartition("/")[2]
    source = source.removeprefix("/")
    return EngineLink(source, alias) if colon and source and alias else None


def _attachment(name: str, value: wire.Attached) -> Attachment:
    return Attachment(
        network=intern(name),
        network_id=intern(short(value.NetworkID)),
        links=texts(value.Links),
        # API 1.44 added DNSNames, 1.45 took the short ID out of Aliases: DNS knows both.
        names=tuple(dict.fromkeys(texts(value.Aliases) + texts(value.DNSNames))),
        gw_priority=value.GwPriority,
    )


def parse_inspected(body: bytes) -> Container | None:
    """Read `GET /containers/{id}/json`; None if it has no ID.

    Raises:
        MalformedError: The body is not JSON.
    """
    found = wire.decode(body, wire.INSPECTED)
    if found is None or not short(found.Id):
        return None
    state, config = found.State or wire.StatePart(), found.Config or wire.ConfigPart()
    host = found.HostConfig or wire.Host()
    networks = found.NetworkSettings.Networks or {} if found.NetworkSettings else {}
    mounts = found.Mounts or ()
    check = config.Healthcheck.Test or [] if config.Healthcheck else []
    links = (_engine_link(text) for text in texts(host.Links))
    attachments = tuple(
        _attachment(name, value) for name, value in networks.items() if value is not None
    )
    return Container(
        id=intern(found.Id),
        name=_name((short(found.Name),)),
        labels=_labels(config.Labels),
        created=_nanoseconds(found.Created),
        started=_nanoseconds(state.StartedAt),
        state=intern(word(state.Status)),
        network_mode=intern(short(host.NetworkMode) or "default"),
        mounts=_set(short(mount.Destination) for mount in mounts),
        networks=tuple(attachment.network for attachment in attachments),
        detail=Detail(
            hostname=short(config.Hostname),
            hosts_path=short(found.HostsPath),
            links=tuple(link for link in links if link is not None),
            attachments=attachments,
            has_healthcheck=check[:1] not in ([], ["NONE"]),
            health=(word(state.Health.Status) if state.Health else "") or None,
            read_only=host.ReadonlyRootfs,
            writable=_set(
                short(mount.Destination) for mount in mounts if mount.RW and mount.Type != "tmpfs"
            ),
            tmpfs=_set(
                [
                    *(short(mount.Destination) for mount in mounts if mount.Type == "tmpfs"),
                    *(host.Tmpfs or ()),
                ]
            ),
        ),
    )


def parse_offer(body: bytes) -> Offer | None:
    """Read ports and environment from `GET /containers/{id}/json`; None if it has no ID.

    Raises:
        MalformedError: The body is not JSON.
    """
    found = wire.decode(body, wire.OFFER)
    if found is None or not short(found.Id):
        return None
    config = found.Config or wire.Offered()
    return Offer(
        running=found.State is not None and found.State.Running,
        env=tuple(config.Env or ()),  # of any length: a variable may hold a certificate
        exposed=tuple(config.ExposedPorts or ()),
        published=_published(found.NetworkSettings),
    )


def parse_ports(body: bytes) -> Offer | None:
    """Read ports as `parse_offer` does, and no environment; None if the body has no ID.

    Raises:
        MalformedError: The body is not JSON.
    """
    found = wire.decode(body, wire.PORTS)
    if found is None or not short(found.Id):
        return None
    return Offer(
        running=found.State is not None and found.State.Running,
        exposed=tuple(found.Config.ExposedPorts or ()) if found.Config else (),
        published=_published(found.NetworkSettings),
    )


def _published(found: wire.PortsPart | None) -> dict[str, tuple[tuple[str, str], ...]]:
    ports = found.Ports or {} if found else {}
    bound = {port: _bindings(bindings) for port, bindings in ports.items()}
    return {port: bindings for port, bindings in bound.items() if bindings}


def _bindings(bindings: list[wire.Binding] | None) -> tuple[tuple[str, str], ...]:
    """Return the host addresses of a port; null means that the port is only exposed."""
    found = ((short(each.HostIp), short(each.HostPort)) for each in bindings or ())
    return tuple((address, port) for address, port in found if port)


def _gateway(pool: wire.Pool) -> str | None:
    """Return an IPAM pool's gateway.

    Engine 20.10 has none for the default bridge, and engines up to 28 have none for an IPv6 pool:
    the gateway is the first address then.
    """
    if named := canonical(short(pool.Gateway)):
        return named
    try:
        return str(ipaddress.ip_network(short(pool.Subnet), strict=False)[1])
    except (ValueError, IndexError):
        return None


def _is_hosts(gateway: str, options: Mapping[str, str]) -> bool:
    """Whether the host has the gateway's address.

    On isolated networks (from engine 28 on) nobody has it, or a container. With `inhibit_ipv4` the
    engine leaves the bridge without an IPv4 address.
    """
    family = 6 if ":" in gateway else 4
    if options.get(GATEWAY_MODE.format(family)) == "isolated":
        return False
    return family == 6 or options.get(INHIBIT, "").lower() not in _TRUE  # noqa: PLR2004 - IPv6


NetworkParts = tuple[Network, dict[str, Endpoint], tuple[Task, ...] | None]


def parse_network(body: bytes) -> NetworkParts | None:
    """Read `GET /networks/{id}`; None if it has no ID. Endpoints are keyed by container ID.

    Tasks are Swarm's of every host, this one too; None if the engine told none.

    Raises:
        MalformedError: The body is not JSON.
    """
    found = wire.decode(body, wire.NETWORK)
    if found is None or not short(found.Id):
        return None
    pools = found.IPAM.Config or () if found.IPAM else ()
    options = found.Options or {}
    gateways = [_gateway(pool) for pool in pools]
    network = Network(
        id=intern(found.Id),
        name=intern(short(found.Name)),
        driver=intern(short(found.Driver)),
        internal=found.Internal,
        gateways=tuple(each for each in gateways if each and _is_hosts(each, options)),
        subnets=tuple(filter(None, (short(pool.Subnet) for pool in pools))),
        labels=_labels(found.Labels),
        scope=intern(short(found.Scope) or "local"),
        ingress=found.Ingress,
        has_dns=not found.Ingress and found.Name not in WITHOUT_DNS,
        icc=options.get(ICC, "").lower() not in _FALSE
        and "private" not in (options.get("macvlan_mode"), options.get("ipvlan_flag")),
        lets_in=options.get(GATEWAY_MODE.format(4)) in _OPEN_MODES or bool(options.get(TRUSTED)),
    )
    tasks = None if found.Services is None else tuple(tasks_of(found.Services))
    return network, dict(_endpoints(found.Containers or {})), tasks


def _endpoints(members: Mapping[str, wire.Member | None]) -> Iterator[tuple[str, Endpoint]]:
    """Yield the endpoints of containers, without the engine's own `lb-NETWORK` and `ep-…`."""
    for container, member in members.items():
        if member is None or not _CONTAINER_ID(container):
            continue
        endpoint = Endpoint(canonical(member.IPv4Address), canonical(member.IPv6Address))
        # An endpoint has no address for an instant at both ends of its life.
        if endpoint.ipv4 or endpoint.ipv6:
            yield intern(container), endpoint


def parse_network_ids(body: bytes) -> frozenset[str] | None:
    """Read `GET /networks`; None if it is not a list.

    Raises:
        MalformedError: The body is not JSON.
    """
    items = wire.decode(body, wire.NETWORKS)
    if items is None:
        return None
    return frozenset(intern(item.Id) for item in items if short(item.Id))


def parse_message(body: bytes) -> str | None:
    """Read the message of an engine's error; None if the body is not the engine's."""
    try:
        found = wire.decode(body, wire.FAILURE)
    except wire.MalformedError:
        return None
    return found.message or None if found else None


def parse_version(body: bytes) -> tuple[str, str, str]:
    """Read `GET /version`: the newest API, the oldest API, the release; each may be empty.

    Raises:
        MalformedError: The body is not JSON.
    """
    found = wire.decode(body, wire.VERSION) or wire.VersionBody()
    return short(found.ApiVersion), short(found.MinAPIVersion), short(found.Version)


def parse_containers_dir(body: bytes) -> str | None:
    """Read DockerRootDir from `GET /info`; None if it is not an absolute path.

    Raises:
        MalformedError: The body is not JSON.
    """
    found = wire.decode(body, wire.INFO)
    root = found.DockerRootDir.rstrip("/") if found else ""
    return f"{root}/containers" if root.startswith("/") else None


ToHint = Callable[[str, str, str, Mapping[str, str], int], Hint | None]
"""Makes a hint of an event: its type, action, actor and attributes, and time."""


def hint(
    kind: str, action: str, subject: str, attributes: Mapping[str, str], time_ns: int
) -> Hint | None:
    """Return the hint of a Docker event; None if it is of neither a container nor a network.

    A container's attributes are its labels, overwritten by `name` and `image`, so a label can
    imitate `oldName`: relinkd uses the attribute only as a hint.
    """
    if kind == "network":
        return Hint(action, attributes.get("container", ""), subject, time_ns)
    if kind != "container":
        return None
    return Hint(
        action,
        subject,
        time_ns=time_ns,
        name=attributes.get("name", ""),
        old_name=attributes.get("oldName", "").removeprefix("/"),
        labels=attributes,
    )


def parse_event(line: bytes, to_hint: ToHint = hint) -> Hint | str | None:
    """Read one event; return a text for an error in its place, None for anything else."""
    try:
        event = wire.decode(line, wire.EVENT)
    except wire.MalformedError:
        return None
    if event is None:
        return None
    if event.Type is UNSET and event.message is not UNSET:
        return event.message if isinstance(event.message, str) else "no reason given"
    actor = event.Actor or wire.ActorPart()
    if not short(event.Action) or not short(actor.ID):
        return None
    kind = event.Type if isinstance(event.Type, str) else ""
    return to_hint(kind, event.Action, actor.ID, _labels(actor.Attributes), event.time_nano)
