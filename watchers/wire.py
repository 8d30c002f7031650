"""Decode only those fields of the engine's answers that relinkd reads.

Each answer has a decoder from bytes to structs. If a value has another type than the engine
documents, this decodes the answer again as plain JSON: a field of another type gets its default,
and an item of another type is left out.
"""

from functools import cache
from types import NoneType
from typing import Any, TypeVar, get_args, get_origin

import msgspec

T = TypeVar("T")

_MISFIT = object()


class MalformedError(Exception):
    """The body is not JSON."""


class Wire(msgspec.Struct, gc=False):
    """A part of an answer. Fields have the engine's names; Go writes null for no list or map."""


class Unread(Wire):
    """An object; only its presence counts."""


class Mount(Wire):
    Type: str = ""
    Destination: str = ""
    RW: bool = False


class ListedHost(Wire):
    NetworkMode: str = ""


class ListedNetworks(Wire):
    Networks: dict[str, Unread | None] | None = None


class ListedContainer(Wire):
    """An item of `GET /containers/json`."""

    Id: str = ""
    Names: list[str] | None = None
    Labels: dict[str, str] | None = None
    Created: int = 0
    State: str = ""
    HostConfig: ListedHost | None = None
    Mounts: list[Mount] | None = None
    NetworkSettings: ListedNetworks | None = None


class HealthPart(Wire):
    Status: str = ""


class StatePart(Wire):
    Status: str = ""
    StartedAt: str = ""
    Health: HealthPart | None = None


class HealthcheckPart(Wire):
    Test: list[str] | None = None


class ConfigPart(Wire):
    Hostname: str = ""
    Labels: dict[str, str] | None = None
    Healthcheck: HealthcheckPart | None = None


class Host(Wire):
    NetworkMode: str = ""
    Links: list[str] | None = None
    ReadonlyRootfs: bool = False
    Tmpfs: dict[str, str] | None = None


class Attached(Wire):
    NetworkID: str = ""
    Links: list[str] | None = None
    Aliases: list[str] | None = None
    DNSNames: list[str] | None = None
    GwPriority: int = 0


class AttachedNetworks(Wire):
    Networks: dict[str, Attached | None] | None = None


class InspectBody(Wire):
    """`GET /containers/{id}/json`, for the mirror."""

    Id: str = ""
    Name: str = ""
    Created: str = ""
    HostsPath: str = ""
    State: StatePart | None = None
    Config: ConfigPart | None = None
    HostConfig: Host | None = None
    Mounts: list[Mount] | None = None
    NetworkSettings: AttachedNetworks | None = None


class Binding(Wire):
    HostIp: str = ""
    HostPort: str = ""


class RunState(Wire):
    Running: bool = False


class Offered(Wire):
    Env: list[str] | None = None
    ExposedPorts: dict[str, object] | None = None


class PortsPart(Wire):
    Ports: dict[str, list[Binding] | None] | None = None


class Exposed(Wire):
    ExposedPorts: dict[str, object] | None = None


class PortsBody(Wire):
    """`GET /containers/{id}/json`, for ports alone."""

    Id: str = ""
    State: RunState | None = None
    Config: Exposed | None = None
    NetworkSettings: PortsPart | None = None


class OfferBody(Wire):
    """`GET /containers/{id}/json`, for an offer: the only decoder that reads the environment."""

    Id: str = ""
    State: RunState | None = None
    Config: Offered | None = None
    NetworkSettings: PortsPart | None = None


class Pool(Wire):
    Subnet: str = ""
    Gateway: str = ""


class Ipam(Wire):
    Config: list[Pool] | None = None


class Member(Wire):
    IPv4Address: str = ""
    IPv6Address: str = ""


class ListedNetwork(Wire):
    """An item of `GET /networks`."""

    Id: str = ""


class TaskInfo(Wire):
    host: str = msgspec.field(default="", name="Host IP")


class TaskPart(Wire):
    Name: str = ""
    EndpointIP: str = ""
    Info: TaskInfo | None = None


class ServicePart(Wire):
    VIP: str = ""
    Tasks: list[TaskPart] | None = None


class NetworkBody(Wire):
    """`GET /networks/{id}`."""

    Id: str = ""
    Name: str = ""
    Scope: str = ""
    Driver: str = ""
    Internal: bool = False
    Ingress: bool = False
    IPAM: Ipam | None = None
    Options: dict[str, str] | None = None
    Labels: dict[str, str] | None = None
    Containers: dict[str, Member | None] | None = None
    Services: dict[str, ServicePart | None] | None = None
    """Only in a verbose answer, and only while this host has a container there."""


class ActorPart(Wire):
    ID: str = ""
    Attributes: dict[str, str] | None = None


class EventLine(Wire):
    """A line of `GET /events`. API 1.52 removed `id`, `status` and `from`."""

    Type: object = msgspec.UNSET
    Action: str = ""
    Actor: ActorPart | None = None
    time_nano: int = msgspec.field(default=0, name="timeNano")
    message: object = msgspec.UNSET
    """Untyped: the error that the engine sends in place of an event."""


class ErrorBody(Wire):
    message: str = ""


class ComponentPart(Wire):
    Name: str = ""


class VersionBody(Wire):
    Components: list[ComponentPart] | None = None
    ApiVersion: str = ""
    MinAPIVersion: str = ""
    Version: str = ""


class SwarmPart(Wire):
    NodeAddr: str = ""
    ControlAvailable: bool = False


class StorePart(Wire):
    driver: str = msgspec.field(default="", name="graphDriverName")
    run_root: str = msgspec.field(default="", name="runRoot")


class PodmanInfoBody(Wire):
    """`GET /v4.0.0/libpod/info`, which only Podman has."""

    store: StorePart | None = None


class InfoBody(Wire):
    """`GET /info`."""

    DockerRootDir: str = ""
    Name: str = ""
    Swarm: SwarmPart | None = None


class NodeDescription(Wire):
    Hostname: str = ""


class NodeStatus(Wire):
    Addr: str = ""


class NodeManager(Wire):
    Addr: str = ""


class NodePart(Wire):
    """An item of `GET /nodes`, which only a Swarm's managers answer."""

    Description: NodeDescription | None = None
    Status: NodeStatus | None = None
    ManagerStatus: NodeManager | None = None


LIST = msgspec.json.Decoder(list[ListedContainer])
INSPECTED = msgspec.json.Decoder(InspectBody)
OFFER = msgspec.json.Decoder(OfferBody)
PORTS = msgspec.json.Decoder(PortsBody)
NETWORKS = msgspec.json.Decoder(list[ListedNetwork])
NETWORK = msgspec.json.Decoder(NetworkBody)
EVENT = msgspec.json.Decoder(EventLine)
FAILURE = msgspec.json.Decoder(ErrorBody)
VERSION = msgspec.json.Decoder(VersionBody)
INFO = msgspec.json.Decoder(InfoBody)
NODES = msgspec.json.Decoder(list[NodePart])
PODMAN_INFO = msgspec.json.Decoder(PodmanInfoBody)


def decode(body: bytes, decoder: msgspec.json.Decoder[T]) -> T | None:
    """Decode an answer; None if it has another shape.

    Raises:
        MalformedError: The body is not JSON, or nested too deep.
    """
    try:
        try:
            return decoder.decode(body)
        except msgspec.ValidationError:
            found = _fit(msgspec.json.decode(body), decoder.type)
            return None if found is _MISFIT else found
    except (ValueError, RecursionError) as error:
        raise MalformedError(str(error)) from error


def _fit(value: object, kind: Any) -> Any:
    """Make plain JSON a value of a type, leaving out what cannot be; `_MISFIT` if it cannot be."""
    if kind is object or type(value) is kind:
        return value
    parts = get_args(kind)
    if NoneType in parts:  # it is always written last
        return None if value is None else _fit(value, parts[0])
    if isinstance(value, list) and get_origin(kind) is list:
        fitted = (_fit(each, parts[0]) for each in value)
        return [each for each in fitted if each is not _MISFIT]
    if isinstance(value, dict) and get_origin(kind) is dict:
        pairs = ((key, _fit(each, parts[1])) for key, each in value.items())
        return {key: each for key, each in pairs if each is not _MISFIT}
    if isinstance(value, dict) and not parts and issubclass(kind, Wire):
        pairs = (
            (name, _fit(value[key], inner)) for key, name, inner in _fields(kind) if key in value
        )
        return kind(**{name: each for name, each in pairs if each is not _MISFIT})
    return _MISFIT


@cache
def _fields(kind: type[Wire]) -> tuple[tuple[str, str, Any], ...]:
    """Return the key in JSON, the name and the type of each field."""
    return tuple((each.encode_name, each.name, each.type) for each in msgspec.structs.fields(kind))
