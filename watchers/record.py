"""What a host's relinkd writes into the store, and how relinkd reads it: docs/fleet.md has both.

Keys, below the fleet's prefix: `hosts/HOST`, `names/NAME/HOST` and `services/PROJECT/SERVICE/HOST/
NAME`. A container's record is the same under both of its keys, so that a watch of one name is
narrow. The key has the host and the name; the value has the rest, and never an environment.
reconciler/features/fleet/lease.py explains `fences/HOST`.

Whoever may write to the store may write anything. A value counts only if every part of it is what
relinkd itself could have written; else `BadRecordError` says what is wrong.
"""

import ipaddress
import re
from collections.abc import Iterator
from typing import Annotated, Final, Literal, NamedTuple, TypeVar

import msgspec

from watchers.model import (
    COMPOSE_NUMBER,
    COMPOSE_PROJECT,
    COMPOSE_SERVICE,
    Container,
    Detail,
    Endpoint,
    Foreign,
    ForeignNetwork,
    Host,
    foreign_id,
)

T = TypeVar("T")

VERSION: Final = 1
"""Of the records. A field more does not change it: unknown fields are ignored."""
LONGEST = 64 * 1024
"""Most bytes of a value."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,252}").fullmatch
_PORT = re.compile(r"[1-9][0-9]{0,4}").fullmatch
_HIGHEST_PORT = 65535

ROOMS = {"name": "names", "service": "services"}
"""Kind of a wanted key -> where the store has its records."""
PROBLEMS = {
    "icc": "has inter-container communication off",
    "private": "is the private network of another source",
}
"""Why nobody reaches a container on a network: the record's word, and ours for users."""

Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,252}\Z")]
Port = Annotated[str, msgspec.Meta(pattern=r"^[1-9][0-9]{0,4}/(tcp|udp|sctp)\Z")]
Word = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_.:+/ -]{0,128}\Z")]
Time = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
State = Literal[
    "created", "starting", "running", "paused", "restarting", "removing", "exited", "dead"
]
Health = Literal["starting", "healthy", "unhealthy"]
Binding = tuple[str, str]


class BadRecordError(ValueError):
    """A key or value is not what relinkd writes; the text says where."""


class OnNetwork(msgspec.Struct, frozen=True, omit_defaults=True):
    """A network that a container is on."""

    id: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9]{1,128}\Z")]
    name: Name
    scope: Word = "local"
    ipv4: str | None = None
    ipv6: str | None = None
    problem: Word | None = None
    """A word of `PROBLEMS`."""


class ContainerRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """The value of `names/…` and `services/…`."""

    state: State
    v: int = VERSION
    project: Name | None = None
    service: Name | None = None
    number: Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,9}\Z")] | None = None
    created: Time = 0
    started: Time = 0
    mode: Literal["default", "host", "none"] = "default"
    healthcheck: bool | None = None
    """None: not known."""
    health: Health | None = None
    networks: Annotated[tuple[OnNetwork, ...], msgspec.Meta(max_length=64)] = ()
    exposed: Annotated[tuple[Port, ...], msgspec.Meta(max_length=2000)] = ()
    published: Annotated[
        dict[Port, Annotated[tuple[Binding, ...], msgspec.Meta(max_length=16)]],
        msgspec.Meta(max_length=2000),
    ] = {}


class HostRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """The value of `hosts/HOST`."""

    relinkd: Word
    """relinkd's version."""
    v: int = VERSION
    machine: Word = ""
    """Changes with each boot of the machine: two machines of one name are a mistake."""
    since: Word = ""
    """When relinkd started: ISO 8601, UTC."""
    addresses: Annotated[tuple[str, ...], msgspec.Meta(max_length=16)] = ()
    routed: Annotated[
        tuple[Annotated[str, msgspec.Meta(max_length=253)], ...], msgspec.Meta(max_length=64)
    ] = ()


class _Versioned(msgspec.Struct):
    v: int = 0


# -- keys ------------------------------------------------------------------------------------------


class ContainerKey(NamedTuple):
    """The parts of a container's key."""

    host: str
    name: str
    service: tuple[str, str] | None


def hosts(prefix: str) -> str:
    """Return what the keys of all hosts begin with."""
    return f"{prefix}/hosts/"


def fences(prefix: str) -> str:
    """Return what the key of each host's fence begins with."""
    return f"{prefix}/fences/"


def container_keys(prefix: str, host: str, container: Container) -> Iterator[str]:
    """Yield the keys of a container of a host."""
    if _NAME(container.name):
        yield f"{prefix}/names/{container.name}/{host}"
        if container.service is not None and all(map(_NAME, container.service)):
            yield f"{prefix}/services/{'/'.join(container.service)}/{host}/{container.name}"


def wanted(prefix: str, key: tuple[str, ...]) -> str:
    """Return what the keys of a name's, or a service's, records begin with.

    Args:
        prefix: The fleet's.
        key: Its kind is one of `ROOMS`: `name` NAME, or `service` PROJECT SERVICE.
    """
    kind, *words = key
    return f"{prefix}/{ROOMS[kind]}/{'/'.join(words)}/"


def host_of(prefix: str, key: str) -> str:
    """Return the host of a host's key.

    Raises:
        BadRecordError: It is no such key.
    """
    name = key.removeprefix(hosts(prefix))
    if not _NAME(name):
        raise BadRecordError("no such host name is possible")
    return name


def container_of(prefix: str, key: str) -> ContainerKey:
    """Return the parts of a container's key.

    Raises:
        BadRecordError: It is no such key.
    """
    parts = key.removeprefix(f"{prefix}/").split("/")
    if all(map(_NAME, parts[1:])):
        match parts:
            case ["names", name, host]:
                return ContainerKey(host, name, None)
            case ["services", project, service, host, name]:
                return ContainerKey(host, name, (project, service))
    raise BadRecordError("relinkd writes no such key")


# -- values ----------------------------------------------------------------------------------------


def encode(record: ContainerRecord | HostRecord) -> bytes:
    """Return a record's value; the same record gives the same bytes."""
    return msgspec.json.encode(record, order="deterministic")


def _decode(value: bytes, kind: type[T]) -> T:
    if len(value) > LONGEST:
        raise BadRecordError(f"its value has {len(value)} bytes; relinkd reads {LONGEST}")
    try:
        version = msgspec.json.decode(value, type=_Versioned).v
        if version > VERSION:
            raise BadRecordError(
                f"version {version} of the records: this relinkd knows {VERSION}; update it"
            )
        return msgspec.json.decode(value, type=kind)
    except msgspec.ValidationError as error:
        raise BadRecordError(str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRecordError("its value is no JSON") from error


def read_host(host: str, value: bytes) -> tuple[HostRecord, Host]:
    """Return what a host says of itself.

    Raises:
        BadRecordError: relinkd does not write such a value.
    """
    record = _decode(value, HostRecord)
    addresses = tuple(_address(each) for each in record.addresses)
    return record, Host(host, addresses, tuple(map(_route, record.routed)))


def read_container(key: ContainerKey, value: bytes) -> Foreign:
    """Return a container of another host.

    Raises:
        BadRecordError: relinkd does not write such a value.
    """
    record = _decode(value, ContainerRecord)
    labels = {}
    if record.project is not None and record.service is not None:
        labels = {COMPOSE_PROJECT: record.project, COMPOSE_SERVICE: record.service}
        if record.number is not None:
            labels[COMPOSE_NUMBER] = record.number
    container = Container(
        id=foreign_id(key.host, key.name),
        name=key.name,
        labels=labels,
        created=record.created,
        started=record.started,
        state=record.state,
        network_mode=record.mode,
        detail=None
        if record.healthcheck is None
        else Detail("", "", has_healthcheck=record.healthcheck, health=record.health),
        host=key.host,
    )
    if key.service is not None and key.service != container.service:
        raise BadRecordError("its project and service are not those of its key")
    return Foreign(
        container,
        {each.id: _endpoint(each) for each in record.networks},
        {
            each.id: ForeignNetwork(each.name, each.scope, _problem(each))
            for each in record.networks
        },
        record.exposed,
        {port: tuple(map(_binding, bindings)) for port, bindings in record.published.items()},
    )


def _endpoint(on: OnNetwork) -> Endpoint:
    v4, v6 = (None if each is None else _address(each) for each in (on.ipv4, on.ipv6))
    if (v4 is not None and ":" in v4) or (v6 is not None and ":" not in v6):
        raise BadRecordError(f"an address of the other family on network {on.name}")
    return Endpoint(v4, v6)


def _problem(on: OnNetwork) -> str | None:
    if on.problem is None:
        return None
    return PROBLEMS.get(on.problem, "is no path, as its host says")


def _address(text: str, *, unspecified: bool = False) -> str:
    """Return an address in its canonical form, if a container or a host can have it."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError as error:
        raise BadRecordError(f"{text[:50]!a} is no address") from error
    if unspecified and address.is_unspecified:
        return str(address)
    if (
        address.is_unspecified
        or address.is_loopback
        or address.is_multicast
        or address.is_link_local
        or (address.version == 4 and address.is_reserved)  # noqa: PLR2004 - IPv4
        or "%" in text
        or getattr(address, "ipv4_mapped", None) is not None
    ):
        raise BadRecordError(f"no other host can have the address {address}")
    return str(address)


def _binding(binding: Binding) -> Binding:
    address, port = binding
    if not _PORT(port) or int(port) > _HIGHEST_PORT:
        raise BadRecordError(f"{port[:50]!a} is no port")
    return _address(address, unspecified=True), port


def _route(word: str) -> str:
    if "/" not in word and _NAME(word):
        return word
    try:
        return str(ipaddress.ip_network(word))
    except ValueError as error:
        raise BadRecordError(f"{word[:50]!a} is neither a network's name nor a range") from error
