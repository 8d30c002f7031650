"""The engine by GET only: one negotiated API version, answers as model values.

aiodocker owns the connections. Questions go over its session directly: each has a deadline, the
answer's bytes are read before they are parsed (large ones off the loop), and every failure becomes
one of errors.py's, where aiodocker lets five kinds of others through. It is also the faster way:
`connect` to file written took 1.6 to 1.9 times a bare socket, and 1.7 to 2.2 times through
aiodocker's own calls.
"""

import errno
import json
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar
from urllib.parse import quote

import aiohttp
import anyio
import anyio.to_thread
import msgspec
from aiodocker import Docker
from yarl import URL

from watchers import parse
from watchers.address import find
from watchers.errors import (
    EngineError,
    EngineFailedError,
    EngineGoneError,
    EngineUnusableError,
    NotFoundError,
)
from watchers.model import (
    ContainerAnswer,
    ListAnswer,
    NetworkAnswer,
    NetworkListAnswer,
    Offer,
)

T = TypeVar("T")

OUR_API = (1, 51)
"""The newest version whose answers parse.py was tried on; 29 speaks it too."""
OLDEST_API = (1, 41)
"""Engine 20.10."""
DEADLINE = 5.0
"""Seconds for one question; a hanging one delays only itself."""
LIST_DEADLINE = 30.0
"""Seconds for a list: 10 MB at 10,000 containers."""
_OFF_LOOP = 256 * 1024
"""Bytes from which parsing takes more than a millisecond or so and moves to a thread."""


def _explain(address: str, error: BaseException) -> EngineError:
    """Turn a failed connection into what the user can do about it."""
    code = getattr(error, "os_error", error)
    number = code.errno if isinstance(code, OSError) else None
    if number == errno.EACCES:
        return EngineUnusableError(
            f"no permission to use {address}: run as root, or as a member of the group that owns it"
        )
    if number == errno.ENOENT:
        return EngineGoneError(
            f"no engine at {address}: start it, or say where it is with --engine or DOCKER_HOST"
        )
    if number == errno.ECONNREFUSED:
        return EngineGoneError(f"nothing listens at {address}: is the engine running?")
    return EngineGoneError(f"{address}: {str(code) or type(error).__name__}")


def connect(address: str | None) -> tuple[Docker, str]:
    """Return a client for `address`, or for the engine that Docker's own client would use.

    Raises:
        EngineUnusableError: no engine is named anywhere, or in a way that cannot be used.
    """
    try:
        address, tls = find(address)
        docker = Docker(url=address, ssl_context=tls, api_version="v1.41")
    except (ValueError, OSError, RuntimeError) as error:
        raise EngineUnusableError(f"cannot use {address or 'the engine'}: {error}") from error
    if isinstance(docker.connector, aiohttp.UnixConnector):
        return docker, f"unix://{docker.connector.path}"
    return docker, docker.docker_host


def negotiate(version: object) -> tuple[int, int]:
    """Return the API version to speak, from the body of `GET /version`.

    Raises:
        EngineUnusableError: the engine's newest is older than 1.41, or its oldest newer than ours.
    """
    newest, oldest = _api(version, "ApiVersion"), _api(version, "MinAPIVersion") or (0, 0)
    if newest is None:
        raise EngineUnusableError("this does not answer as a Docker engine: no ApiVersion")
    if newest < OLDEST_API:
        raise EngineUnusableError(
            f"the engine speaks API {newest[0]}.{newest[1]}; relinkd needs 1.41 "
            "(Docker 20.10) at least: update the engine"
        )
    if oldest > OUR_API:
        raise EngineUnusableError(
            f"the engine asks for API {oldest[0]}.{oldest[1]} at least; this relinkd speaks "
            f"{OUR_API[0]}.{OUR_API[1]} at most: update relinkd"
        )
    return min(OUR_API, newest)


def _api(version: object, key: str) -> tuple[int, int] | None:
    text = version.get(key) if isinstance(version, dict) else None
    try:
        major, minor = str(text).split(".")
        return int(major), int(minor)
    except ValueError:
        return None


class Engine:
    """One connected engine. Every call here is a GET and raises an `EngineError` only."""

    def __init__(self, docker: Docker, address: str, api: tuple[int, int], version: str) -> None:
        self.address = address
        self.api = f"{api[0]}.{api[1]}"
        self.version = version
        self.docker = docker
        """For those who may do more than ask (see reconciler/deliver/acting.py)."""
        self._session = docker.session
        self._base = f"{docker.docker_host}/v{self.api}"

    async def containers(self, asked: int) -> ListAnswer:
        """List every container, stopped ones too."""
        read = _only(list, parse.parse_list)
        return ListAnswer(asked, await self._get("/containers/json?all=1", LIST_DEADLINE, read))

    async def container(self, container: str, asked: int) -> ContainerAnswer:
        """Inspect one container; the engine blocks this while the container starts."""
        try:
            found = await self._get(
                f"/containers/{container}/json", DEADLINE, parse.parse_inspected
            )
        except NotFoundError:
            return ContainerAnswer(container, asked, None)
        return ContainerAnswer(container, asked, found)

    async def offer(self, container: str) -> Offer | None:
        """Ask for a container's ports and environment, by ID, prefix or name; None: no such one."""
        path = f"/containers/{quote(container, safe='')}/json"
        try:
            return await self._get(path, DEADLINE, parse.parse_offer)
        except NotFoundError:
            return None

    async def networks(self, asked: int) -> NetworkListAnswer:
        """List the networks."""
        read = _only(list, parse.parse_network_ids)
        return NetworkListAnswer(asked, await self._get("/networks", LIST_DEADLINE, read))

    async def network(self, network: str, asked: int) -> NetworkAnswer:
        """Ask one network for its endpoints: right at every moment, 4 ms even during a start."""
        try:
            found = await self._get(f"/networks/{network}", DEADLINE, parse.parse_network)
        except NotFoundError:
            return NetworkAnswer(network, asked, None)
        return NetworkAnswer(network, asked, *found)

    @asynccontextmanager
    async def stream(self, filters: Mapping[str, list[str]]) -> AsyncIterator[aiohttp.StreamReader]:
        """Open the event stream: the bytes of it, until the engine ends it.

        Raises:
            EngineGoneError: it could not be opened.
        """
        url = URL(f"{self._base}/events").with_query(filters=json.dumps(filters))
        response: aiohttp.ClientResponse | None = None
        try:
            try:
                with anyio.fail_after(DEADLINE):
                    response = await self._session.get(url)
                    if response.status != 200:  # noqa: PLR2004 - HTTP's own number
                        raise EngineGoneError(f"events: {await _message(response)}")
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                raise _explain(self.address, error) from error
            yield response.content
        finally:
            if response is not None:
                response.close()  # release() would wait for the end of an endless body

    async def _get(self, path: str, deadline: float, read: Callable[[Any], T | None]) -> T:
        try:
            with anyio.fail_after(deadline):
                found = await _ask(self._session, URL(self._base + path, encoded=True), read)
        except TimeoutError as error:
            raise EngineFailedError(f"{path}: no answer within {deadline:g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise _explain(self.address, error) from error
        if found is None:
            raise EngineFailedError(f"{path}: an answer to another question")
        return found


def _only(kind: type, read: Callable[[Any], T]) -> Callable[[Any], T | None]:
    """Let nothing of another type pass for an answer that happens to be empty."""
    return lambda answer: read(answer) if isinstance(answer, kind) else None


async def _ask(session: aiohttp.ClientSession, url: URL, read: Callable[[Any], T]) -> T:
    async with session.get(url) as response:
        if response.status == 404:  # noqa: PLR2004 - HTTP's own number
            raise NotFoundError(await _message(response))
        if response.status != 200:  # noqa: PLR2004
            raise EngineFailedError(f"{url.path}: {response.status} {await _message(response)}")
        body = await response.read()
    try:
        if len(body) > _OFF_LOOP:
            return await anyio.to_thread.run_sync(lambda: read(msgspec.json.decode(body)))
        return read(msgspec.json.decode(body))
    except (ValueError, RecursionError) as error:
        raise EngineFailedError(f"{url.path}: not JSON: {error}") from error


async def _message(response: aiohttp.ClientResponse) -> str:
    body = (await response.read())[:2000]
    try:
        return str(msgspec.json.decode(body)["message"])
    except (ValueError, RecursionError, KeyError, TypeError):
        # What stands before an engine says no in HTML.
        return " ".join(re.sub(r"<[^>]*>", " ", body.decode(errors="replace")).split())


@asynccontextmanager
async def open_engine(address: str | None) -> AsyncIterator[Engine]:
    """Connect to the engine and agree on an API version, anew at every connect.

    Raises:
        EngineGoneError: out of reach for now.
        EngineFailedError: it answers, but not what its version is.
        EngineUnusableError: it will not do; the text says what would.
    """
    docker, where = connect(address)
    try:
        try:
            with anyio.fail_after(DEADLINE):
                url = URL(f"{docker.docker_host}/version")
                version = await _ask(docker.session, url, lambda answer: answer)
        except NotFoundError as error:
            raise EngineUnusableError(f"{where} does not answer as a Docker engine") from error
        except TimeoutError as error:
            raise EngineGoneError(f"{where}: no answer within {DEADLINE:g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise _explain(where, error) from error
        api = negotiate(version)
        docker.api_version = f"v{api[0]}.{api[1]}"
        yield Engine(docker, where, api, str(version.get("Version", "")))
    finally:
        # Not docker.close(): it would stop an event task that was never started, and swallows
        # a cancellation on the way (aiodocker 0.27).
        with anyio.CancelScope(shield=True):
            await docker.session.close()
