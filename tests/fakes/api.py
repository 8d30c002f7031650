"""The API of a fake engine: what each request does to its world, and its answer."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.fakes.generations import Json, Version
from tests.fakes.model import BUILTIN, EngineError, signal_number
from tests.fakes.shapes import Shapes, labelled
from tests.fakes.state import World


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it came; the path has no version, but its query."""

    method: str
    path: str
    time: float
    version: Version | None = None
    body: bytes = field(default=b"", repr=False)

    @property
    def url(self) -> str:
        """The path without its query."""
        return urlsplit(self.path).path

    def query(self, key: str, default: str = "") -> str:
        """Return a parameter of the query."""
        return parse_qs(urlsplit(self.path).query).get(key, [default])[-1]

    def flag(self, key: str) -> bool:
        """Return a parameter that is true or false."""
        return self.query(key).lower() not in {"", "0", "false", "no", "none"}

    def moment(self, key: str) -> int | None:
        """Return a time of the query, `seconds` or `seconds.nanoseconds`, in nanoseconds."""
        text = self.query(key)
        if not text:
            return None
        seconds, _, fraction = text.partition(".")
        return int(seconds) * 10**9 + int(fraction[:9].ljust(9, "0"))

    def filters(self) -> dict[str, list[str]]:
        """Return the filters: lists, or the older objects of value to true."""
        given = json.loads(self.query("filters") or "{}")
        return {key: [*values] for key, values in given.items()}

    def json(self) -> Json:
        """Return the body as JSON."""
        body: Json = json.loads(self.body or b"{}")
        return body


@dataclass(slots=True)
class Answer:
    """A status and a body of JSON or of text."""

    status: int = 200
    body: Any = None
    content_type: str = "application/json"

    def encoded(self) -> bytes:
        """Return the body's bytes."""
        if self.body is None:
            return b""
        if isinstance(self.body, bytes):
            return self.body
        return json.dumps(self.body).encode() + b"\n"


Handler = Callable[[Request, Version, str], Awaitable[Answer]]


class Api:
    """The routes of an engine and what is behind them."""

    def __init__(self, world: World, shapes: Shapes, ident: str) -> None:
        self.world = world
        self.id = ident
        self._shapes = shapes

    def routes(self) -> list[tuple[str, re.Pattern[str], Handler]]:
        table: list[tuple[str, str, Handler]] = [
            ("GET", "/_ping", self._ping),
            ("HEAD", "/_ping", self._ping),
            ("GET", "/version", self._version),
            ("GET", "/info", self._info),
            ("GET", "/containers/json", self._list),
            ("POST", "/containers/create", self._create),
            ("GET", "/containers/([^/]+)/json", self._inspect),
            ("POST", "/containers/([^/]+)/start", self._start),
            ("POST", "/containers/([^/]+)/stop", self._stop),
            ("POST", "/containers/([^/]+)/restart", self._restart),
            ("POST", "/containers/([^/]+)/kill", self._kill),
            ("POST", "/containers/([^/]+)/rename", self._rename),
            ("POST", "/containers/([^/]+)/pause", self._pause),
            ("POST", "/containers/([^/]+)/unpause", self._unpause),
            ("POST", "/containers/([^/]+)/exec", self._not_here),
            ("PUT", "/containers/([^/]+)/archive", self._not_here),
            ("DELETE", "/containers/([^/]+)", self._remove),
            ("GET", "/nodes", self._nodes),
            ("GET", "/networks", self._networks),
            ("POST", "/networks/create", self._create_network),
            ("GET", "/networks/([^/]+)", self._network),
            ("DELETE", "/networks/([^/]+)", self._remove_network),
            ("POST", "/networks/([^/]+)/connect", self._connect),
            ("POST", "/networks/([^/]+)/disconnect", self._disconnect),
        ]
        return [(method, re.compile(pattern), handler) for method, pattern, handler in table]

    async def _ping(self, _request: Request, _api: Version, _name: str) -> Answer:
        return Answer(body=b"OK", content_type="text/plain; charset=utf-8")

    async def _version(self, _request: Request, _api: Version, _name: str) -> Answer:
        return Answer(body=self._shapes.version())

    async def _info(self, _request: Request, _api: Version, _name: str) -> Answer:
        return Answer(body=self._shapes.info(self.id))

    async def _list(self, request: Request, api: Version, _name: str) -> Answer:
        everything, filters = request.flag("all"), request.filters()
        return Answer(body=self._shapes.summaries(api, everything=everything, filters=filters))

    async def _inspect(self, _request: Request, api: Version, name: str) -> Answer:
        container = self.world.find(name)
        async with container.lock:
            return Answer(body=self._shapes.inspect(container, api))

    async def _create(self, request: Request, _api: Version, _name: str) -> Answer:
        container = self.world.create(request.query("name"), request.json())
        warnings = []
        if container.links and self.world.generation.number >= 29:
            warnings.append(
                "Links on the default bridge network are deprecated and will be removed in a "
                "future release. Use a custom network instead."
            )
        return Answer(HTTPStatus.CREATED, {"Id": container.id, "Warnings": warnings})

    async def _start(self, _request: Request, _api: Version, name: str) -> Answer:
        await self.world.start(self.world.find(name))
        return Answer(HTTPStatus.NO_CONTENT)

    async def _stop(self, request: Request, _api: Version, name: str) -> Answer:
        await self.world.stop(self.world.find(name), float(request.query("t", "10")))
        return Answer(HTTPStatus.NO_CONTENT)

    async def _restart(self, request: Request, _api: Version, name: str) -> Answer:
        await self.world.restart(self.world.find(name), float(request.query("t", "10")))
        return Answer(HTTPStatus.NO_CONTENT)

    async def _kill(self, request: Request, _api: Version, name: str) -> Answer:
        number = signal_number(request.query("signal") or "KILL")
        await self.world.kill(self.world.find(name), number)
        return Answer(HTTPStatus.NO_CONTENT)

    async def _rename(self, request: Request, _api: Version, name: str) -> Answer:
        await self.world.rename(self.world.find(name), request.query("name"))
        return Answer(HTTPStatus.NO_CONTENT)

    async def _pause(self, _request: Request, _api: Version, name: str) -> Answer:
        await self.world.freeze(self.world.find(name), on=True)
        return Answer(HTTPStatus.NO_CONTENT)

    async def _unpause(self, _request: Request, _api: Version, name: str) -> Answer:
        await self.world.freeze(self.world.find(name), on=False)
        return Answer(HTTPStatus.NO_CONTENT)

    async def _remove(self, request: Request, _api: Version, name: str) -> Answer:
        if request.flag("link"):
            recipient, _, alias = name.removeprefix("/").partition("/")
            await self.world.unlink(self.world.find(recipient), alias)
        else:
            await self.world.remove(self.world.find(name), force=request.flag("force"))
        return Answer(HTTPStatus.NO_CONTENT)

    async def _not_here(self, _request: Request, _api: Version, _name: str) -> Answer:
        raise EngineError(
            HTTPStatus.NOT_IMPLEMENTED, "the fake engine has no processes and no files"
        )

    async def _networks(self, request: Request, _api: Version, _name: str) -> Answer:
        filters = request.filters()
        shown = [
            self._shapes.network(network, brief=True)
            for network in self.world.networks.values()
            if _network_passes(self._shapes.network(network, brief=True), filters)
        ]
        return Answer(body=shown)

    async def _network(self, request: Request, _api: Version, name: str) -> Answer:
        network = self.world.networks.find(name)
        return Answer(body=self._shapes.network(network, verbose=request.flag("verbose")))

    async def _nodes(self, _request: Request, _api: Version, _name: str) -> Answer:
        nodes = self.world.swarm.nodes
        if not nodes:
            raise EngineError(HTTPStatus.SERVICE_UNAVAILABLE, "This node is not a swarm manager.")
        return Answer(
            body=[
                {"Description": {"Hostname": name}, "Status": {"State": "ready", "Addr": address}}
                for address, name in nodes.items()
            ]
        )

    async def _create_network(self, request: Request, _api: Version, _name: str) -> Answer:
        network = self.world.networks.create(request.json())
        return Answer(HTTPStatus.CREATED, {"Id": network.id, "Warning": ""})

    async def _remove_network(self, _request: Request, _api: Version, name: str) -> Answer:
        self.world.networks.remove(name)
        return Answer(HTTPStatus.NO_CONTENT)

    async def _connect(self, request: Request, _api: Version, name: str) -> Answer:
        body = request.json()
        container = self.world.find(body["Container"])
        await self.world.connect(name, container, body.get("EndpointConfig") or {})
        return Answer()

    async def _disconnect(self, request: Request, _api: Version, name: str) -> Answer:
        body = request.json()
        container, force = self.world.find(body["Container"]), bool(body.get("Force"))
        await self.world.disconnect(name, container, force=force)
        return Answer()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def dotted(version: Version) -> str:
    return ".".join(map(str, version))


def _network_passes(shown: Json, filters: dict[str, list[str]]) -> bool:
    for key, values in filters.items():
        match key:
            case "name":
                passed = any(re.search(value, shown["Name"]) for value in values)
            case "id":
                passed = any(shown["Id"].startswith(value) for value in values)
            case "driver":
                passed = shown["Driver"] in values
            case "label":
                passed = labelled(shown["Labels"], values)
            case "type":
                passed = ("builtin" if shown["Name"] in BUILTIN else "custom") in values
            case _:
                raise EngineError(HTTPStatus.BAD_REQUEST, f"invalid filter '{key}'")
        if values and not passed:
            return False
    return True
