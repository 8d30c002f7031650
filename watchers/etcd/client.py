"""A client of etcd by its JSON gateway: it asks one member, and the next one if that fails."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any, NoReturn, TypeVar

import aiohttp
import anyio

from watchers.engine import FAULTS
from watchers.etcd.access import Access
from watchers.etcd.errors import (
    DENIED,
    CompactedError,
    MemberRefusedError,
    NoUsersError,
    StoreError,
    StoreGoneError,
    StoreRefusedError,
    TokenError,
    broken,
    explain,
    failure,
    no_etcd,
)
from watchers.etcd.wire import (
    Failure,
    Line,
    Ranged,
    Token,
    Version,
    Watched,
    after,
    decode,
    encode,
)
from watchers.lines import Lines
from watchers.wire import MalformedError

T = TypeVar("T")

OLDEST = (3, 4)
"""The oldest release whose gateway has the paths that relinkd uses."""
DEADLINE = 2.0
"""Seconds that a member has for an answer."""
LONGEST = 16 * 1024 * 1024
"""Most bytes of an answer: a stranger may have written the values."""
_OK = 200
_PROBES = {socket.TCP_KEEPIDLE: 2, socket.TCP_KEEPINTVL: 1, socket.TCP_KEEPCNT: 3}
"""An idle connection whose other end is silent for five seconds counts as broken."""


class Store:
    """A store; see `open_store`. Every call raises a `StoreError` if it fails."""

    def __init__(self, access: Access, session: aiohttp.ClientSession) -> None:
        self.access = access
        self.member = access.members[0]
        """The member that is asked now."""
        self.version = ""
        """The release of the member that was asked last."""
        self.asks_for_users: bool | None = None
        """Whether the store knows users; None: not known, since none is set here."""
        self.failures = 0
        """How often a member failed; it may still carry out what it was asked, however late."""
        self._base = "https://" if access.tls else "http://"
        self._session = session
        self._known: set[str] = set()
        """Members that are an etcd of a version that relinkd can use."""
        self._token: str | None = None

    async def call(self, path: str, request: Mapping[str, Any], kind: type[T]) -> T:
        """Ask the store; if a member fails, each other one once."""
        failed: list[StoreError] = []
        for _ in self.access.members:
            member = self.member
            try:
                return await self._let_in_and_ask(member, path, request, kind)
            except (StoreGoneError, MemberRefusedError) as error:
                failed.append(error)
                self._leave(member)
        text = "; ".join(dict.fromkeys(map(str, failed)))
        if all(isinstance(each, StoreRefusedError) for each in failed):
            raise StoreRefusedError(text)
        raise StoreGoneError(text)

    async def range(
        self, key: bytes, *, below: bool = False, limit: int = 0, values: bool = True
    ) -> Ranged:
        """Read one key, or all that begin with `key`, as the quorum has them now."""
        request: dict[str, Any] = {"key": key, "limit": limit, "keys_only": not values}
        if below:
            request["range_end"] = after(key)
        return await self.call("/v3/kv/range", request, Ranged)

    async def watch(
        self,
        prefixes: Iterable[tuple[bytes, int]],
        heard: Callable[[list[Watched]], None],
        confirmed: Callable[[], None],
    ) -> NoReturn:
        """Call with the changes that arrived together, until the stream ends.

        All watches go into one request: the gateway takes one JSON object after the other, but
        reads none of them any more once it answers. The member
        must confirm every watch within the deadline: a silent one would go unnoticed.

        Args:
            prefixes: Of keys, each with the first revision that counts. A watch's `watch_id` is
                the prefix's place here, from 1 on.
            heard: Takes the changes.
            confirmed: Called once, when the member has confirmed every watch.

        Raises:
            CompactedError: The store no longer has all changes from a revision on.
            StoreError: The stream could not be opened, broke or ended.
        """
        requests = [
            {
                "key": prefix,
                "range_end": after(prefix),
                "start_revision": revision,
                "watch_id": number,
            }
            for number, (prefix, revision) in enumerate(prefixes, 1)
        ]
        body = b"\n".join(encode({"create_request": each}) for each in requests)
        member = self.member
        try:
            await self._let_in(member)
            async with (
                asyncio.timeout(DEADLINE) as limit,
                self._post(member, "/v3/watch", body) as response,
            ):
                if response.status != _OK:
                    raise explain(member, "/v3/watch", await _read(response), self.access)
                waiting = {*range(1, len(requests) + 1)}
                async for parts in self._parts(member, response.content):
                    heard(parts)
                    if waiting:
                        waiting.difference_update(part.watch_id for part in parts if part.created)
                        if not waiting:
                            limit.reschedule(None)
                            confirmed()
        except StoreGoneError:
            self._leave(member)
            raise
        except FAULTS as error:
            self._leave(member)
            raise broken(member, error, self.access) from error
        raise StoreGoneError(f"{member}: the watch ended")

    async def _parts(
        self, member: str, content: aiohttp.StreamReader
    ) -> AsyncIterator[list[Watched]]:
        lines = Lines()
        while data := await content.readany():
            if found := [self._watched(member, line) for line in lines.feed(data) if line]:
                yield found
            if lines.dropped:
                raise StoreGoneError(f"{member}: a change is longer than relinkd reads")

    def _watched(self, member: str, line: bytes) -> Watched:
        try:
            found = decode(line, Line)
        except MalformedError as error:
            raise StoreGoneError(f"{member}: what it sends of a watch is not JSON") from error
        if found.error is not None:
            raise failure(member, found.error, self.access)
        result = found.result or Watched()
        if result.compact_revision:
            raise CompactedError(f"{member}: changes up to {result.compact_revision} are compacted")
        if result.canceled:
            if "permission denied" in result.cancel_reason.lower():
                raise failure(member, Failure(code=DENIED), self.access)
            raise StoreGoneError(f"{member}: the watch ended: {result.cancel_reason}")
        return result

    async def local_address(self) -> str | None:
        """Return this machine's address towards the member; None if there is no route."""
        host, _, port = self.member.rpartition(":")
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_DGRAM)
            family, kind, _, _, address = found[0]
            with socket.socket(family, kind) as way:
                way.connect(address)  # sends nothing
                return str(way.getsockname()[0])
        except OSError:
            return None

    # -- one member ------------------------------------------------------------------------------

    def _leave(self, member: str) -> None:
        """Ask the next member from now on, unless another question has moved on already."""
        self.failures += 1
        self._known.discard(member)
        if self.member == member:
            members = self.access.members
            self.member = members[(members.index(member) + 1) % len(members)]

    async def _let_in_and_ask(
        self, member: str, path: str, request: Mapping[str, Any], kind: type[T]
    ) -> T:
        await self._let_in(member)
        token = self._token
        try:
            return await self._ask(member, path, request, kind)
        except TokenError:
            if self._token is token:  # no other question has got a new one meanwhile
                self._token = None
        await self._let_in(member)
        try:
            return await self._ask(member, path, request, kind)
        except TokenError as error:
            raise StoreRefusedError(str(error)) from error

    async def _let_in(self, member: str) -> None:
        """Make sure that the member is an etcd that relinkd can use, and knows the user."""
        if member not in self._known:
            await self._check_version(member)
            self._known.add(member)
        if self.access.user is None or self._token is not None:
            return
        request = {"name": self.access.user, "password": self.access.password}
        try:
            found = await self._ask(member, "/v3/auth/authenticate", request, Token)
            self._token, self.asks_for_users = found.token, True
        except NoUsersError:
            self._token, self.asks_for_users = "", False

    async def _check_version(self, member: str) -> None:
        url = f"{self._base}{member}/version"
        try:
            async with (
                asyncio.timeout(DEADLINE),
                self._session.get(url, allow_redirects=False) as response,
            ):
                body = await _read(response)
        except FAULTS as error:
            raise broken(member, error, self.access) from error
        try:
            self.version = decode(body, Version).etcdserver
            major, minor = self.version.split(".")[:2]
            numbers = int(major), int(minor)
        except (MalformedError, ValueError) as error:
            raise no_etcd(member, body) from error
        if numbers < OLDEST:
            raise MemberRefusedError(
                f"{member} is etcd {self.version}: relinkd needs 3.4 or later; update etcd"
            )

    async def _ask(self, member: str, path: str, request: Mapping[str, Any], kind: type[T]) -> T:
        try:
            async with (
                asyncio.timeout(DEADLINE),
                self._post(member, path, encode(request)) as response,
            ):
                body = await _read(response)
        except FAULTS as error:
            raise broken(member, error, self.access) from error
        if response.status != _OK:
            raise explain(member, path, body, self.access)
        try:
            return decode(body, kind)
        except MalformedError as error:
            raise StoreError(f"{member}: {path}: the answer is not etcd's: {error}") from error

    def _post(self, member: str, path: str, body: bytes) -> Any:
        headers = {"Authorization": self._token} if self._token else {}
        url = f"{self._base}{member}{path}"
        return self._session.post(url, data=body, headers=headers, allow_redirects=False)


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """Return the body.

    Raises:
        StoreError: It is longer than `LONGEST`.
    """
    parts, size = [], 0
    async for part in response.content.iter_any():
        parts.append(part)
        size += len(part)
        if size > LONGEST:
            raise StoreError(f"{response.url.path}: the answer is longer than {LONGEST >> 20} MiB")
    return b"".join(parts)


def certificates(access: Access) -> ssl.SSLContext | None:
    """Return the context for TLS; None without it.

    Raises:
        StoreRefusedError: The files cannot be used.
    """
    if not access.tls:
        return None
    try:
        context = ssl.create_default_context(cafile=access.ca)
    except OSError as error:
        raise StoreRefusedError(f"--fleet-ca {access.ca}: {_reason(error)}") from error
    if access.cert is not None:
        try:
            context.load_cert_chain(access.cert, access.key)
        except OSError as error:
            files = f"--fleet-cert {access.cert}, --fleet-key {access.key}"
            raise StoreRefusedError(f"{files}: {_reason(error)}") from error
    return context


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return f"not certificates and a key in PEM form that fit ({error.reason or 'no PEM'})"
    return error.strerror or str(error)


def _socket(address: Any) -> socket.socket:
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _PROBES.items():
        made.setsockopt(socket.IPPROTO_TCP, option, value)
    return made


@asynccontextmanager
async def open_store(access: Access) -> AsyncIterator[Store]:
    """Return a store; nothing is asked yet.

    Raises:
        StoreRefusedError: The certificates cannot be used.
    """
    connector = aiohttp.TCPConnector(
        ssl=certificates(access) or True, socket_factory=_socket, use_dns_cache=False
    )
    session = aiohttp.ClientSession(
        connector=connector,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=DEADLINE),
        auto_decompress=False,
    )
    try:
        yield Store(access, session)
    finally:
        with anyio.CancelScope(shield=True):
            await session.close()
