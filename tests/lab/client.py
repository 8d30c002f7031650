"""A small synchronous client of the Docker API over a unix socket.

Tests arrange the world with it and look at the result, on real engines and on the fake alike.
It shares no code with relinkd on purpose: a mistake in the one must not hide a mistake in the
other.  Every request has a connection of its own, so one client may serve many threads.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import struct
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeAlias, TypedDict, Unpack
from urllib.parse import quote, urlencode

Json: TypeAlias = dict[str, Any]
Jsons: TypeAlias = list[Json]  # inside Client the name `list` is a method
Filters: TypeAlias = "Mapping[str, Sequence[str]]"

NEWEST_API = "1.51"
BUILTIN_NETWORKS = frozenset({"bridge", "host", "none"})
# Networks in which the engine itself handles links and which take no endpoint settings.
_PLAIN_MODES = BUILTIN_NETWORKS | {"default"}


class ApiError(Exception):
    """The engine answered a request with an error status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status
        self.message = message


class CreateOptions(TypedDict, total=False):
    """What may be said about a new container; what is left out takes the engine's default."""

    image: str  # busybox
    cmd: Sequence[str] | None
    entrypoint: Sequence[str] | None
    labels: Mapping[str, str] | None
    env: Sequence[str]
    links: Sequence[str]  # HostConfig.Links, `docker run --link`
    network: str | None  # HostConfig.NetworkMode: also host, none, container:x
    aliases: Sequence[str]
    endpoint_links: Sequence[str]  # Networks[network].Links, as Compose writes `links:`
    ip: str | None
    ip6: str | None
    gw_priority: int | None  # of the endpoint on `network`; an API of at least 1.48
    hostname: str | None
    extra_hosts: Sequence[str]
    binds: Sequence[str]
    tmpfs: Mapping[str, str] | Sequence[str]
    read_only: bool
    restart: str | None  # always, on-failure:3
    exposed: Sequence[str]  # 80, 53/udp
    ports: Mapping[str, tuple[str, int]] | None  # 80/tcp: (host address, host port)
    healthcheck: Json | None  # durations in nanoseconds
    cap_add: Sequence[str]
    cap_drop: Sequence[str]
    user: str | None
    init: bool
    auto_remove: bool
    stop_signal: str  # SIGKILL, so that no test waits for a process that ignores SIGTERM


def _port(text: str) -> str:
    return text if "/" in text else f"{text}/tcp"


def _restart_policy(text: str | None) -> Json:
    name, _, count = (text or "no").partition(":")
    return {"Name": name, "MaximumRetryCount": int(count or 0)}


def _endpoint(
    aliases: Sequence[str],
    links: Sequence[str],
    ip: str | None,
    ip6: str | None,
    gw_priority: int | None,
) -> Json:
    addresses = {"IPv4Address": ip, "IPv6Address": ip6}
    ipam = {key: address for key, address in addresses.items() if address}
    settings = {
        "Aliases": [*aliases],
        "Links": [*links],
        "IPAMConfig": ipam,
        "GwPriority": gw_priority,
    }
    return {key: value for key, value in settings.items() if value}


def create_body(options: CreateOptions) -> Json:
    """Return the body of `POST /containers/create` for these options."""
    ports = options.get("ports") or {}
    network = options.get("network")
    tmpfs = options.get("tmpfs", ())
    host_config: Json = {
        "Binds": [*options.get("binds", ())],
        "CapAdd": [*options.get("cap_add", ())],
        "CapDrop": [*options.get("cap_drop", ())],
        "ExtraHosts": [*options.get("extra_hosts", ())],
        "Links": [*options.get("links", ())],
        "NetworkMode": network or "default",
        "PortBindings": {
            _port(port): [{"HostIp": address, "HostPort": str(number)}]
            for port, (address, number) in ports.items()
        },
        "ReadonlyRootfs": options.get("read_only", False),
        "RestartPolicy": _restart_policy(options.get("restart")),
        "Tmpfs": dict(tmpfs) if isinstance(tmpfs, Mapping) else dict.fromkeys(tmpfs, ""),
        "Init": options.get("init", False),
        "AutoRemove": options.get("auto_remove", False),
    }
    body: Json = {
        "Image": options.get("image", "busybox"),
        "Labels": dict(options.get("labels") or {}),
        "Env": [*options.get("env", ())],
        "ExposedPorts": {_port(port): {} for port in (*options.get("exposed", ()), *ports)},
        "StopSignal": options.get("stop_signal", "SIGKILL"),
        "HostConfig": host_config,
    }
    given = {
        "Cmd": options.get("cmd"),
        "Entrypoint": options.get("entrypoint"),
        "Hostname": options.get("hostname"),
        "User": options.get("user"),
        "Healthcheck": options.get("healthcheck"),
    }
    body |= {key: value for key, value in given.items() if value is not None}
    if network and network not in _PLAIN_MODES and not network.startswith("container:"):
        endpoint = _endpoint(
            options.get("aliases", ()),
            options.get("endpoint_links", ()),
            options.get("ip"),
            options.get("ip6"),
            options.get("gw_priority"),
        )
        body["NetworkingConfig"] = {"EndpointsConfig": {network: endpoint}}
    return body


def demultiplex(stream: bytes) -> str:
    """Return the text of an attach or logs stream without its 8-byte frame headers."""
    parts, at = [], 0
    while at < len(stream):
        (size,) = struct.unpack_from(">I", stream, at + 4)
        parts.append(stream[at + 8 : at + 8 + size])
        at += 8 + size
    return b"".join(parts).decode(errors="replace")


class _Connection(http.client.HTTPConnection):
    """An HTTP connection over a unix socket."""

    def __init__(self, path: Path, timeout: float | None) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class EventStream:
    """Events as they come, until `close`, which may be called from any thread."""

    def __init__(self, connection: _Connection, response: http.client.HTTPResponse) -> None:
        self._connection = connection
        self._response = response
        self._socket = connection.sock.dup()  # the one that close may use while we read
        self._reading = threading.Lock()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Json:
        with self._reading:
            try:
                line = self._response.readline()
            except (http.client.HTTPException, OSError):
                line = b""  # the stream was closed, or broke with its engine
        if not line:
            self.close()
            raise StopIteration
        event: Json = json.loads(line)
        return event

    def close(self) -> None:
        """End the iteration, also one that waits for an event in another thread."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes the thread that reads
        with self._reading:
            for part in (self._response, self._connection, self._socket):
                part.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Client:
    """One engine's API; containers and networks are given by name or ID."""

    def __init__(self, socket: Path, *, api: str | None = None, timeout: float | None = 60) -> None:
        self.socket = socket
        self.timeout = timeout
        self._api = api

    @property
    def api(self) -> str:
        """The API version spoken: the engine's newest, but at most the one we know."""
        if self._api is None:
            with contextlib.closing(_Connection(self.socket, self.timeout)) as connection:
                connection.request("GET", "/_ping")
                with connection.getresponse() as response:
                    answer = response.headers["Api-Version"]
            self._api = min(answer, NEWEST_API, key=lambda v: [int(n) for n in v.split(".")])
        return self._api

    # -- requests

    def _open(
        self,
        method: str,
        path: str,
        body: bytes | object = None,
        *,
        timeout: float | None,
    ) -> tuple[_Connection, http.client.HTTPResponse]:
        headers = {}
        if isinstance(body, bytes):
            headers["Content-Type"] = "application/x-tar"
        elif body is not None:
            headers["Content-Type"] = "application/json"
            body = json.dumps(body).encode()
        if not path.startswith(("/v1.", "/_ping")):
            path = f"/v{self.api}{path}"
        connection = _Connection(self.socket, timeout)
        try:
            connection.request(method, path, body, headers)
            return connection, connection.getresponse()
        except BaseException:
            connection.close()
            raise

    def raw(self, method: str, path: str, body: bytes | object = None) -> tuple[int, bytes]:
        """Send one request and return the status and the answer, whatever they are.

        The path needs no version.  Bytes are sent as a tar archive, all else as JSON.
        """
        connection, response = self._open(method, path, body, timeout=self.timeout)
        with contextlib.closing(connection), response:
            return response.status, response.read()

    def _call(
        self,
        method: str,
        path: str,
        body: bytes | object = None,
        *,
        query: Mapping[str, object] | None = None,
    ) -> bytes:
        status, answer = self.raw(method, _with_query(path, query), body)
        _check(status, answer)
        return answer

    def _json(self, method: str, path: str, body: object = None, **query: object) -> Any:
        return json.loads(self._call(method, path, body, query=query))

    # -- containers

    def create(self, name: str, **options: Unpack[CreateOptions]) -> str:
        """Create a container and return its ID."""
        created = self._json("POST", "/containers/create", create_body(options), name=name)
        return str(created["Id"])

    def run(self, name: str, **options: Unpack[CreateOptions]) -> str:
        """Create a container, start it and return its ID."""
        container = self.create(name, **options)
        self.start(container)
        return container

    def start(self, c: str) -> None:
        """Start a container."""
        self._call("POST", f"{_container(c)}/start")

    def stop(self, c: str, t: int = 0) -> None:
        """Stop a container, by SIGKILL after `t` seconds."""
        self._call("POST", f"{_container(c)}/stop", query={"t": t})

    def restart(self, c: str, t: int = 0) -> None:
        """Restart a container."""
        self._call("POST", f"{_container(c)}/restart", query={"t": t})

    def kill(self, c: str, signal: str = "KILL") -> None:
        """Send a signal to a container's first process."""
        self._call("POST", f"{_container(c)}/kill", query={"signal": signal})

    def remove(self, c: str, *, force: bool = True) -> None:
        """Remove a container and its anonymous volumes."""
        self._call("DELETE", _container(c), query={"force": force, "v": True})

    def rename(self, c: str, new: str) -> None:
        """Give a container another name."""
        self._call("POST", f"{_container(c)}/rename", query={"name": new})

    def pause(self, c: str) -> None:
        """Freeze a container's processes."""
        self._call("POST", f"{_container(c)}/pause")

    def unpause(self, c: str) -> None:
        """Let a paused container go on."""
        self._call("POST", f"{_container(c)}/unpause")

    def inspect(self, c: str) -> Json:
        """Return all that the engine says of one container."""
        container: Json = self._json("GET", f"{_container(c)}/json")
        return container

    def list(self, *, all: bool = True, filters: Filters | None = None) -> Jsons:  # noqa: A002
        """Return the engine's summaries of its containers."""
        containers: Jsons = self._json(
            "GET", "/containers/json", all=all, filters=json.dumps(filters or {})
        )
        return containers

    def exec(self, c: str, argv: Sequence[str], *, user: str | None = None) -> tuple[int, str]:
        """Run a command in a container; return its exit code and what it wrote to both outputs."""
        wanted = {"AttachStdout": True, "AttachStderr": True, "Cmd": [*argv], "User": user or ""}
        ident = self._json("POST", f"{_container(c)}/exec", wanted)["Id"]
        output = self._call("POST", f"/exec/{ident}/start", {"Detach": False, "Tty": False})
        # The stream may end a moment before the engine has noted the exit code.
        while (state := self._json("GET", f"/exec/{ident}/json"))["Running"]:
            time.sleep(0.005)
        return int(state["ExitCode"]), demultiplex(output)

    def logs(self, c: str) -> str:
        """Return what a container wrote to both outputs so far."""
        query = {"stdout": True, "stderr": True}
        return demultiplex(self._call("GET", f"{_container(c)}/logs", query=query))

    # -- networks

    def network_create(
        self,
        name: str,
        *,
        subnets: Sequence[str] = (),
        ipv6: bool = False,
        internal: bool = False,
        labels: Mapping[str, str] | None = None,
        driver: str = "bridge",
        options: Mapping[str, str] | None = None,
    ) -> str:
        """Create a network and return its ID."""
        body = {
            "Name": name,
            "CheckDuplicate": True,
            "Driver": driver,
            "EnableIPv6": ipv6,
            "Internal": internal,
            "Labels": dict(labels or {}),
            "Options": dict(options or {}),
            "IPAM": {"Config": [{"Subnet": subnet} for subnet in subnets]},
        }
        return str(self._json("POST", "/networks/create", body)["Id"])

    def network_remove(self, n: str) -> None:
        """Remove a network."""
        self._call("DELETE", _network(n))

    def connect(
        self,
        network: str,
        c: str,
        *,
        aliases: Sequence[str] = (),
        links: Sequence[str] = (),
        ip: str | None = None,
        ip6: str | None = None,
        gw_priority: int | None = None,
    ) -> None:
        """Connect a container to a network; `gw_priority` needs an API of at least 1.48."""
        endpoint = _endpoint(aliases, links, ip, ip6, gw_priority)
        body = {"Container": c, "EndpointConfig": endpoint}
        self._call("POST", f"{_network(network)}/connect", body)

    def disconnect(self, network: str, c: str, *, force: bool = False) -> None:
        """Disconnect a container from a network."""
        self._call("POST", f"{_network(network)}/disconnect", {"Container": c, "Force": force})

    def network(self, n: str) -> Json:
        """Return all that the engine says of one network, its endpoints included."""
        network: Json = self._json("GET", _network(n))
        return network

    def networks(self) -> Jsons:
        """Return the engine's summaries of its networks."""
        networks: Jsons = self._json("GET", "/networks")
        return networks

    # -- the engine

    def version(self) -> Json:
        """Return the engine's versions."""
        version: Json = self._json("GET", "/version")
        return version

    def info(self) -> Json:
        """Return what the engine says of itself and its machine."""
        info: Json = self._json("GET", "/info")
        return info

    def import_image(self, name: str, tar: bytes, *, changes: Sequence[str] = ()) -> None:
        """Make an image of a root file system; `changes` are lines of a Dockerfile."""
        repo, _, tag = name.partition(":")
        query = {"fromSrc": "-", "repo": repo, "tag": tag or "latest", "changes": [*changes]}
        answer = self._call("POST", "/images/create", tar, query=query)
        for line in answer.splitlines():
            if error := json.loads(line).get("error"):
                raise ApiError(HTTPStatus.INTERNAL_SERVER_ERROR, error)

    def events(self, *, since: float, until: float, filters: Filters | None = None) -> Jsons:
        """Return the events between two times; an `until` in the future is waited for."""
        query = {
            "since": _timestamp(since),
            "until": _timestamp(until),
            "filters": json.dumps(filters or {}),
        }
        return [json.loads(line) for line in self._call("GET", "/events", query=query).splitlines()]

    def stream_events(
        self, filters: Filters | None = None, *, since: float | None = None
    ) -> EventStream:
        """Return the events from now on (or from `since` on), subscribed when this returns.

        The engine sends its headers a moment before it subscribes us: asking for the events
        since now makes up for that moment.
        """
        query = {
            "since": _timestamp(time.time() if since is None else since),
            "filters": json.dumps(filters or {}),
        }
        connection, response = self._open("GET", _with_query("/events", query), timeout=None)
        if response.status != HTTPStatus.OK:
            with contextlib.closing(connection):
                _check(response.status, response.read())
        return EventStream(connection, response)

    def sweep(self, prefix: str = "") -> None:
        """Remove every container and network of one's own whose name starts with `prefix`."""
        containers = [
            container["Id"]
            for container in self.list()
            if any(name.startswith(f"/{prefix}") for name in container["Names"] or ["/"])
        ]
        networks = [
            network["Id"]
            for network in self.networks()
            if network["Name"] not in BUILTIN_NETWORKS and network["Name"].startswith(prefix)
        ]
        with ThreadPoolExecutor(8) as pool:
            for _ in pool.map(self._sweep_container, containers):
                pass
        for network in networks:
            for container in self.network(network)["Containers"]:
                self.disconnect(network, container, force=True)
            self.network_remove(network)

    def _sweep_container(self, c: str) -> None:
        try:
            self.remove(c, force=True)
        except ApiError as error:
            # Gone already, or somebody else's removal is under way.
            if error.status not in {HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT}:
                raise


def _container(c: str) -> str:
    return f"/containers/{quote(c, safe='')}"


def _network(n: str) -> str:
    return f"/networks/{quote(n, safe='')}"


def _with_query(path: str, query: Mapping[str, object] | None) -> str:
    if not query:
        return path
    spelled = {
        key: int(value) if isinstance(value, bool) else value for key, value in query.items()
    }
    return f"{path}?{urlencode(spelled, doseq=True)}"


def _timestamp(seconds: float) -> str:
    return f"{seconds:.9f}"


def _check(status: int, answer: bytes) -> None:
    if status < HTTPStatus.BAD_REQUEST:
        return
    try:
        message = json.loads(answer)["message"]
    except (ValueError, KeyError, TypeError):
        message = answer.decode(errors="replace")
    raise ApiError(status, message)
