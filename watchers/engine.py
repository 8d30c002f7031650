"""Ask the engine, by GET only: one negotiated API version, answers as model values.

aiodocker owns the connections. Questions use its session directly: each has a deadline, reads the
whole body before it parses it (off the loop if it is large), and raises only errors of errors.py;
aiodocker's own calls raise five other kinds, too. The direct way is also faster: from `connect` to
the written file it took 1.6 to 1.9 times as long as a bare socket, aiodocker's calls 1.7 to 2.2.
"""

import asyncio
import errno
import json
import os
import re
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import TypeVar
from urllib.parse import quote

import aiohttp
import anyio
import anyio.to_thread
from aiodocker import Docker
from aiohttp.http import HttpProcessingError
from yarl import URL

from watchers import parse, podman, swarm
from watchers.address import find
from watchers.errors import (
    AddressError,
    EngineError,
    EngineFailedError,
    EngineGoneError,
    EngineRefusedError,
    EngineUnusableError,
    NotFoundError,
)
from watchers.model import (
    ContainerAnswer,
    Here,
    ListAnswer,
    ListedAnswer,
    NetworkAnswer,
    NetworkListAnswer,
    Offer,
    Place,
)
from watchers.wire import MalformedError

T = TypeVar("T")

OUR_API = (1, 51)
"""The newest version that parse.py is tested with; engine 29 speaks it too."""
OLDEST_API = (1, 41)
"""Engine 20.10."""
DEADLINE = 5.0
"""Seconds for one question; one that hangs delays only itself."""
LIST_DEADLINE = 30.0
"""Seconds for a list: 10 MB at 10,000 containers."""
FAULTS = (aiohttp.ClientError, HttpProcessingError, TimeoutError, OSError)
"""The exceptions that a broken connection raises."""
SWARM_ID = 25
"""Digits of the ID of a network of Swarm scope; those of this host's have 64."""
_SOME = 20
"""Containers that identify a directory: the newest ones, some of which may be going."""
_TRIED = 3
"""Most of these to inspect for their hosts file's path: one that never ran has none yet."""
_OFF_LOOP = 128 * 1024
"""Bytes that take about a millisecond to parse; larger answers are parsed in a thread."""
_LONGEST = 2000
"""Most characters of an error message."""
_OK, _NOT_FOUND = 200, 404
_FAULT = 500
"""The first status that means a fault of the engine itself."""


def in_words(error: BaseException) -> str:
    """Return what broke a connection, without Python's class names."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        error = error.certificate_error
    elif isinstance(error, aiohttp.ClientConnectorError):
        error = error.os_error
    match error:
        case ssl.SSLCertVerificationError():
            return f"certificate verify failed: {error.verify_message}"
        case ssl.SSLError():
            return f"TLS failed: {(error.reason or 'no reason given').replace('_', ' ').lower()}"
        case aiohttp.ServerDisconnectedError():
            return "the connection was closed before the answer came"
        case aiohttp.ClientPayloadError():
            return "the connection broke in the middle of the answer"
        case aiohttp.ClientResponseError() | HttpProcessingError():
            return "the answer is not HTTP"
        case OSError(errno=int(number)) if number > 0:
            return os.strerror(number)
        case OSError(strerror=str(text)):
            return text
        case _:
            return str(error) or "the connection failed"


def _explain(address: str, error: BaseException) -> EngineError:
    """Turn a failed connection into an error that says what the user can do."""
    if isinstance(error, aiohttp.InvalidURL):
        return AddressError(f"cannot use {address}: {error}")
    code = getattr(error, "os_error", error)
    number = code.errno if isinstance(code, OSError) else None
    if number == errno.EACCES:
        return EngineUnusableError(
            f"no permission to use {address}: run as root, or as a member of the group that owns it"
        )
    if number == errno.ENOENT:
        return EngineGoneError(
            f"no engine at {address}: start it, or set its address with --engine or DOCKER_HOST"
        )
    if number == errno.ECONNREFUSED:
        return EngineGoneError(f"nothing listens at {address}: is the engine running?")
    return EngineGoneError(f"{address}: {in_words(error)}")


def connect(address: str | None) -> tuple[Docker, str]:
    """Return a client for `address`, or for the engine that Docker's own client would use.

    Raises:
        AddressError: The address can never work.
        EngineUnusableError: No place has an address.
    """
    try:
        address, tls = find(address)
        docker = Docker(url=address, ssl_context=tls, api_version="v1.41")
    except (ValueError, OSError, RuntimeError) as error:
        raise AddressError(f"cannot use {address or 'the engine'}: {error}") from error
    if isinstance(docker.connector, aiohttp.UnixConnector):
        return docker, f"unix://{docker.connector.path}"
    return docker, docker.docker_host


def negotiate(newest: str, oldest: str) -> tuple[int, int]:
    """Return the API version to speak with an engine that speaks `oldest` to `newest`.

    Raises:
        EngineUnusableError: relinkd speaks none of its versions, or it names none.
    """
    last, first = _api(newest), _api(oldest) or (0, 0)
    if last is None:
        raise EngineUnusableError("this is not a Docker engine: its answer has no ApiVersion")
    if last < OLDEST_API:
        raise EngineUnusableError(
            f"the engine speaks API {last[0]}.{last[1]}; relinkd needs at least 1.41 "
            "(Docker 20.10): update the engine"
        )
    if first > OUR_API:
        raise EngineUnusableError(
            f"the engine needs at least API {first[0]}.{first[1]}; this relinkd speaks at most "
            f"{OUR_API[0]}.{OUR_API[1]}: update relinkd"
        )
    return min(OUR_API, last)


def _api(text: str) -> tuple[int, int] | None:
    try:
        major, minor = text.split(".")
        return int(major), int(minor)
    except ValueError:
        return None


class Engine:
    """A connected engine. Every call is a GET, and raises an `EngineError` if it fails."""

    def __init__(
        self,
        docker: Docker,
        address: str,
        api: tuple[int, int],
        version: str,
        *,
        is_podman: bool = False,
    ) -> None:
        self.address = address
        self.api = f"{api[0]}.{api[1]}"
        self.version = f"Podman {version}" if is_podman else version
        self.is_podman = is_podman
        """Whether the answers differ in the ways of watchers/podman.py."""
        self.docker = docker
        """For reconciler/engine_api.py, the only module that changes the engine."""
        self._session = docker.session
        self._base = f"{docker.docker_host}/v{self.api}"

    async def containers(self, revision: int) -> ListAnswer:
        """List every container, stopped ones too."""
        found = await self._get("/containers/json?all=1", LIST_DEADLINE, parse.parse_list)
        return ListAnswer(revision, found)

    async def container(self, container: str, revision: int) -> ContainerAnswer:
        """Inspect a container; the engine delays the answer while the container starts."""
        try:
            found = await self._get(
                f"/containers/{container}/json", DEADLINE, parse.parse_inspected
            )
        except NotFoundError:
            return ContainerAnswer(container, revision, None)
        return ContainerAnswer(container, revision, found)

    async def listed(self, container: str, revision: int) -> ListedAnswer:
        """List one container: its configured networks, also while it starts."""
        filters = quote(json.dumps({"id": [container]}))
        path = f"/containers/json?all=1&filters={filters}"
        found = await self._get(path, DEADLINE, parse.parse_list)
        return ListedAnswer(container, revision, next(iter(found), None))

    async def offer(self, container: str) -> Offer | None:
        """Ask for a container's ports and environment, by ID, prefix or name; None if gone."""
        path = f"/containers/{quote(container, safe='')}/json"
        try:
            return await self._get(path, DEADLINE, parse.parse_offer)
        except NotFoundError:
            return None

    async def ports(self, container: str) -> Offer | None:
        """Ask for a container's ports, without its environment; None if it is gone."""
        path = f"/containers/{quote(container, safe='')}/json"
        try:
            return await self._get(path, DEADLINE, parse.parse_ports)
        except NotFoundError:
            return None

    async def networks(self, revision: int) -> NetworkListAnswer:
        """List the networks."""
        found = await self._get("/networks", LIST_DEADLINE, parse.parse_network_ids)
        return NetworkListAnswer(revision, found)

    async def network(self, network: str, revision: int) -> NetworkAnswer:
        """Ask for a network's endpoints: always current, in 4 ms even while a container starts.

        Of a network of Swarm scope, also for those on other hosts.
        """
        verbose = "?verbose=true" if len(network) == SWARM_ID else ""
        try:
            path = f"/networks/{network}{verbose}"
            found = await self._get(path, DEADLINE, parse.parse_network)
        except NotFoundError:
            return NetworkAnswer(network, revision, None)
        about, endpoints, tasks = found
        if self.is_podman:
            about = podman.as_containers_name_it(about)
        return NetworkAnswer(network, revision, about, endpoints, tasks)

    async def here(self) -> Here:
        """Ask for the host's name, and its place in a Swarm."""
        return await self._get("/info", DEADLINE, swarm.parse_here)

    async def nodes(self) -> dict[str, str]:
        """Ask a manager for the names of a Swarm's hosts by address."""
        return await self._get("/nodes", DEADLINE, swarm.parse_nodes)

    async def place(self) -> Place:
        """Ask where the engine keeps its containers; unknown if a proxy hides it.

        The path is in the inspect of any container that has run, else in `GET /info`.
        """
        ids: tuple[str, ...] = ()
        if self.is_podman:
            return await self._podman_place()
        with suppress(EngineFailedError, NotFoundError):
            path = f"/containers/json?all=1&limit={_SOME}"
            some = await self._get(path, DEADLINE, parse.parse_list)
            ids = tuple(each.id for each in some)
            for each in sorted(some, key=lambda each: not each.running)[:_TRIED]:
                found = (await self.container(each.id, 0)).container
                if found is not None and found.containers_dir is not None:
                    return Place(found.containers_dir, ids)
        with suppress(EngineFailedError, NotFoundError):
            return Place(await self._get("/info", DEADLINE, parse.parse_containers_dir), ids)
        return Place(None, ids)

    async def _podman_place(self) -> Place:
        """Ask Podman; only its running containers are certain to have a directory there."""
        path = f"/containers/json?limit={_SOME}"
        ids: tuple[str, ...] = ()
        with suppress(EngineFailedError, NotFoundError):
            ids = tuple(each.id for each in await self._get(path, DEADLINE, parse.parse_list))
        with suppress(EngineFailedError, NotFoundError):
            url = URL(f"{self.docker.docker_host}{podman.INFO}")
            async with asyncio.timeout(DEADLINE):
                return Place(await _ask(self._session, url, podman.parse_containers_dir), ids)
        return Place(None, ids)

    @asynccontextmanager
    async def stream(self, filters: Mapping[str, list[str]]) -> AsyncIterator[aiohttp.StreamReader]:
        """Open the event stream, and close it at the end.

        Raises:
            EngineGoneError: The stream could not be opened.
        """
        url = URL(f"{self._base}/events").with_query(filters=json.dumps(filters))
        response: aiohttp.ClientResponse | None = None
        try:
            try:
                with anyio.fail_after(DEADLINE):
                    response = await self._session.get(url, allow_redirects=False)
                    if response.status != _OK:
                        raise EngineGoneError(f"events: {await _message(response)}")
            except TimeoutError as error:
                raise EngineGoneError(f"events: no answer within {DEADLINE:g} s") from error
            except FAULTS as error:
                raise _explain(self.address, error) from error
            yield response.content
        finally:
            if response is not None:
                response.close()  # release() would wait for the end of an endless body

    async def _get(self, path: str, deadline: float, read: Callable[[bytes], T | None]) -> T:
        try:
            # anyio's fail_after takes 25 us more: a quarter of a second for 10,000 inspects.
            async with asyncio.timeout(deadline):
                found = await _ask(self._session, URL(self._base + path, encoded=True), read)
        except TimeoutError as error:
            raise EngineFailedError(f"{path}: no answer within {deadline:g} s") from error
        except FAULTS as error:
            raise _explain(self.address, error) from error
        if found is None:
            raise EngineFailedError(f"{path}: unexpected response body")
        return found


async def _ask(session: aiohttp.ClientSession, url: URL, read: Callable[[bytes], T]) -> T:
    # A redirect could lead to another server than the engine that the user named.
    async with session.get(url, allow_redirects=False) as response:
        if response.status == _NOT_FOUND:
            raise NotFoundError(await _message(response))
        if response.status != _OK:
            kind = EngineRefusedError if response.status < _FAULT else EngineFailedError
            raise kind(f"{url.path}: {response.status} {await _message(response)}")
        body = await response.read()
    try:
        if len(body) > _OFF_LOOP:
            return await anyio.to_thread.run_sync(read, body)
        return read(body)
    except MalformedError as error:
        raise EngineFailedError(f"{url.path}: not JSON: {error}") from error


async def _message(response: aiohttp.ClientResponse) -> str:
    body = await response.read()
    if (message := parse.parse_message(body)) is not None:
        return message[:_LONGEST]
    # A proxy that refuses a request may answer in HTML.
    text = body[:_LONGEST].decode(errors="replace")
    return " ".join(re.sub(r"<[^>]*>", " ", text).split())


def _read_version(body: bytes) -> tuple[str, str, str, bool]:
    return *parse.parse_version(body), podman.is_podman(body)


@asynccontextmanager
async def open_engine(address: str | None) -> AsyncIterator[Engine]:
    """Connect to the engine and agree on an API version.

    Raises:
        EngineGoneError: The engine is out of reach for now.
        EngineFailedError: The engine does not answer with its version.
        EngineUnusableError: relinkd cannot use the engine; the text has the fix.
        AddressError: The address can never work.
    """
    docker, where = connect(address)
    try:
        try:
            with anyio.fail_after(DEADLINE):
                url = URL(f"{docker.docker_host}/version")
                newest, oldest, release, is_podman = await _ask(docker.session, url, _read_version)
        except NotFoundError as error:
            raise EngineUnusableError(f"{where} is not a Docker engine") from error
        except TimeoutError as error:
            raise EngineGoneError(f"{where}: no answer within {DEADLINE:g} s") from error
        except FAULTS as error:
            raise _explain(where, error) from error
        api = negotiate(newest, oldest)
        docker.api_version = f"v{api[0]}.{api[1]}"
        yield Engine(docker, where, api, release, is_podman=is_podman)
    finally:
        # Not docker.close(): it stops an event task that never started, and swallows a
        # cancellation meanwhile (aiodocker 0.27).
        with anyio.CancelScope(shield=True):
            await docker.session.close()
