"""etcd's JSON: keys and values are base64, 64-bit numbers are texts, and zeros are left out."""

from typing import Any, TypeVar

import msgspec

from watchers.wire import MalformedError

T = TypeVar("T")


class Wire(msgspec.Struct):
    """A part of an answer; unknown fields are ignored."""


class Header(Wire):
    """What begins each answer: which store it is, and its revision."""

    cluster_id: int = 0
    revision: int = 0


class KeyValue(Wire):
    """A key with its value."""

    key: bytes
    value: bytes = b""
    mod_revision: int = 0
    lease: int = 0


class Ranged(Wire):
    """`/v3/kv/range`."""

    header: Header
    kvs: tuple[KeyValue, ...] = ()
    more: bool = False
    count: int = 0


class Changed(Wire):
    """`/v3/kv/put`, `/v3/kv/deleterange` and `/v3/kv/txn`."""

    header: Header
    succeeded: bool = False
    """Of a transaction: whether its comparisons held."""


class Leased(Wire):
    """`/v3/lease/grant`, and a part of `/v3/lease/keepalive`."""

    ID: int = 0
    TTL: int = 0
    """Seconds; 0 from a keep-alive: the store has no such lease."""


class KeptAlive(Wire):
    """`/v3/lease/keepalive`."""

    result: Leased


class TimeToLive(Wire):
    """`/v3/lease/timetolive`."""

    TTL: int = -1
    """Seconds until the lease ends; -1: the store has no such lease."""
    grantedTTL: int = 0  # noqa: N815 - the store's name
    keys: tuple[bytes, ...] = ()


class Version(Wire):
    """`/version`."""

    etcdserver: str


class Token(Wire):
    """`/v3/auth/authenticate`."""

    token: str


class Event(Wire):
    """A change of one key."""

    kv: KeyValue
    type: str = "PUT"
    """`PUT` or `DELETE`."""


class Watched(Wire):
    """A part of the answer to `/v3/watch`."""

    header: Header = msgspec.field(default_factory=Header)
    watch_id: int = 0
    created: bool = False
    canceled: bool = False
    compact_revision: int = 0
    cancel_reason: str = ""
    events: tuple[Event, ...] = ()


class Failure(Wire):
    """An error; `code` is one of gRPC's."""

    code: int = 0
    grpc_code: int = 0
    message: str = ""
    error: object = ""


class Line(Wire):
    """A line of `/v3/watch`."""

    result: Watched | None = None
    error: Failure | None = None


def decode(body: bytes, kind: type[T]) -> T:
    """Decode an answer.

    Raises:
        MalformedError: The body is not what etcd answers.
    """
    try:
        return msgspec.json.decode(body, type=kind, strict=False)
    except (ValueError, RecursionError) as error:
        raise MalformedError(str(error)) from error


def encode(request: Any) -> bytes:
    """Encode a request."""
    return msgspec.json.encode(request)


def after(prefix: bytes) -> bytes:
    """Return the end of the range of all keys that begin with `prefix`, which ends in `/`."""
    return prefix[:-1] + bytes((prefix[-1] + 1,))
