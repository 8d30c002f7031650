"""A small synchronous client of the Docker API over a unix socket.

Tests arrange the world with it and look at the result, on real engines and on the fake alike.
It shares no code with relinkd on purpose: a mistake in the one must not hide a mistake in the
other.  Every request has a connection of its own, so one client may serve many threads.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import struct
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeAlias, Unpack
from urllib.parse import quote, urlencode

from tests.lab.connection import EventStream, UnixConnection
from tests.lab.create import BUILTIN_NETWORKS, CreateOptions, Json, create_body, endpoint_body

Jsons: TypeAlias = list[Json]  # inside Client the name `list` is a method
Filters: TypeAlias = "Mapping[str, Sequence[str]]"


NEWEST_API = "1.51"
_PATIENCE = 60.0
"""Seconds for which an engine is asked again that gives up on a busy machine."""


class ApiError(Exception):
    """The engine answered a request with an error status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status
        self.message = message


def demultiplex(stream: bytes) -> str:
    """Return the text of an attach or logs stream without its 8-byte frame headers."""
    parts, at = [], 0
    while at < len(stream):
        (size,) = struct.unpack_from(">I", stream, at + 4)
        parts.append(stream[at + 8 : at + 8 + size])
        at += 8 + size
    return b"".join(parts).decode(errors="replace")


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
            with contextlib.closing(UnixConnection(self.socket, self.timeout)) as connection:
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
    ) -> tuple[UnixConnection, http.client.HTTPResponse]:
        headers = {}
        if isinstance(body, bytes):
            headers["Content-Type"] = "application/x-tar"
        elif body is not None:
            headers["Content-Type"] = "application/json"
            body = json.dumps(body).encode()
        if not path.startswith(("/v1.", "/_ping")):
            path = f"/v{self.api}{path}"
        connection = UnixConnection(self.socket, timeout)
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
        """Freeze a container's processes.

        On a busy machine runc may give up, and lets them go on: it is asked again.
        """
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                self._call("POST", f"{_container(c)}/pause")
            except ApiError as error:
                if "unable to freeze" not in str(error) or time.monotonic() > deadline:
                    raise
            else:
                return

    def unpause(self, c: str) -> None:
        """Let a paused container go on."""
        self._call("POST", f"{_container(c)}/unpause")

    def inspect(self, c: str) -> Json:
        """Return all that the engine says of one container."""
        container: Json = self._json("GET", f"{_container(c)}/json")
        return container

    def list(self, *, all: bool = True, filters: Filters | None = None) -> Jsons:  # noqa: A002 - the API's word
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
        endpoint = endpoint_body(aliases, links, ip, ip6, gw_priority)
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
