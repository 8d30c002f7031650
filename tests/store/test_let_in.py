"""Who a store lets in, and what relinkd says when it does not: real etcd, real certificates."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import replace

import anyio
import pytest

from tests.conftest import entered
from tests.faults.test_tls import Certificates, make_certificates
from tests.lab.etcd import Etcd, etcd
from tests.store.following import following, host, put, running
from watchers.etcd import (
    Access,
    Store,
    StoreError,
    StoreGoneError,
    StoreRefusedError,
    open_store,
)
from watchers.etcd.wire import Changed

ROOT = ("--user", "root:secret")


async def ask(where: Access) -> StoreError | None:
    """Read a key; return the error."""
    try:
        async with open_store(where) as store:
            await store.range(f"{where.prefix}/hosts/".encode(), below=True)
    except StoreError as error:
        for _ in range(10):  # asyncio closes a connection that TLS refused in a later turn
            await asyncio.sleep(0)
        return error
    return None


def plain(cluster: Etcd) -> Access:
    return Access(tuple(member.endpoint for member in cluster.members), "/relinkd")


# -- TLS -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("tls") / "ours")


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("tls") / "theirs")


@pytest.fixture(scope="module")
def guarded(ours: Certificates) -> Iterator[tuple[Etcd, Access]]:
    """Return an etcd that also listens with TLS and asks for a certificate, and the way in."""
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    at = ours.directory
    options = [
        f"--listen-client-urls={{plain}},https://127.0.0.1:{port}",
        f"--cert-file={at / 'cert.pem'}",
        f"--key-file={at / 'key.pem'}",
        f"--trusted-ca-file={at / 'ca.pem'}",
        "--client-cert-auth",
    ]
    files = (str(at / name) for name in ("ca.pem", "cert.pem", "key.pem"))
    with ExitStack() as stack:
        cluster = entered(stack, etcd(1, options))  # which the lab asks without TLS
        yield cluster, Access((f"127.0.0.1:{port}",), "/relinkd", True, *files)  # noqa: FBT003


async def test_a_certificate_lets_in_to_read_and_to_watch(guarded: tuple[Etcd, Access]) -> None:
    cluster, way_in = guarded
    async with following(way_in, "db") as here:
        await here.until_watched()
        put(cluster, "hosts/node-b", host("10.0.0.2"))
        put(cluster, "names/db/node-b", running("10.28.2.2"))
        await here.until_at("node-b//db", "10.28.2.2")


async def test_a_store_of_another_ca(guarded: tuple[Etcd, Access], theirs: Certificates) -> None:
    _, way_in = guarded
    error = await ask(replace(way_in, ca=str(theirs.directory / "ca.pem")))
    assert isinstance(error, StoreRefusedError)
    assert "certificate verify failed" in str(error)
    assert "set --fleet-ca" in str(error)


async def test_a_store_that_this_machine_does_not_trust(guarded: tuple[Etcd, Access]) -> None:
    error = await ask(replace(guarded[1], ca=None))
    assert isinstance(error, StoreRefusedError)
    assert "set --fleet-ca" in str(error)


async def test_no_certificate_of_our_own(guarded: tuple[Etcd, Access]) -> None:
    error = await ask(replace(guarded[1], cert=None, key=None))
    assert isinstance(error, StoreRefusedError)
    assert "set --fleet-cert and --fleet-key" in str(error)


async def test_tls_and_none_are_told_apart(guarded: tuple[Etcd, Access]) -> None:
    cluster, way_in = guarded
    error = await ask(replace(way_in, tls=False))
    assert isinstance(error, StoreGoneError)
    assert "if it speaks TLS, write etcds://" in str(error)
    error = await ask(replace(way_in, members=plain(cluster).members))
    assert isinstance(error, StoreGoneError)
    assert "if it does not speak TLS, write etcd://" in str(error)


# -- users -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def known() -> Iterator[Etcd]:
    """Return an etcd that knows relinkd, whose rights are limited to a prefix, and a stranger."""
    with ExitStack() as stack:
        cluster = entered(stack, etcd())
        for arguments in (
            ("user", "add", "root:secret"),
            ("user", "grant-role", "root", "root"),
            ("role", "add", "relinkd"),
            ("role", "grant-permission", "relinkd", "readwrite", "--prefix=true", "/relinkd/"),
            ("user", "add", "relinkd:pass:word"),
            ("user", "grant-role", "relinkd", "relinkd"),
            ("user", "add", "stranger:pass"),
            ("auth", "enable"),
        ):
            cluster.ctl(*arguments)
        yield cluster


def as_user(cluster: Etcd, user: str, password: str, prefix: str = "/relinkd") -> Access:
    return replace(plain(cluster), user=user, password=password, prefix=prefix)


async def test_a_user_is_let_in_and_again_when_its_token_is_none_any_more(known: Etcd) -> None:
    async with open_store(as_user(known, "relinkd", "pass:word")) as store:
        await store.range(b"/relinkd/hosts/")
        assert store.asks_for_users
        store._token = "ended.1"  # as one that was not used for five minutes
        assert (await store.range(b"/relinkd/hosts/")).count == 0


async def test_a_user_may_watch(known: Etcd) -> None:
    async with following(as_user(known, "relinkd", "pass:word"), "db") as here:
        await here.until_watched()
        known.ctl(*ROOT, "put", "/relinkd/hosts/node-b", host("10.0.0.2").decode())
        known.ctl(*ROOT, "put", "/relinkd/names/db/node-b", running("10.28.2.2").decode())
        await here.until_at("node-b//db", "10.28.2.2")


@pytest.mark.parametrize(
    ("user", "password", "prefix", "said"),
    [
        (None, "", "/relinkd", "asks for a user: set --fleet-user"),
        ("relinkd", "wrong", "/relinkd", "does not let user relinkd in with this password"),
        ("nobody", "pass", "/relinkd", "does not let user nobody in with this password"),
        ("stranger", "pass", "/relinkd", "user stranger may not use /relinkd/; give its role"),
        ("relinkd", "pass:word", "/other", "user relinkd may not use /other/; give its role"),
    ],
)
async def test_others_are_not(
    known: Etcd, user: str | None, password: str, prefix: str, said: str
) -> None:
    error = await ask(replace(plain(known), user=user, password=password, prefix=prefix))
    assert isinstance(error, StoreRefusedError)
    assert said in str(error)
    assert not password or password not in str(error).replace("password", "")


async def test_a_user_where_none_is_asked_for(one: Etcd) -> None:
    async with open_store(as_user(one, "relinkd", "pass")) as store:
        await store.range(b"/relinkd/hosts/")
        assert store.asks_for_users is False


# -- what is no store ------------------------------------------------------------------------------


async def test_no_such_member(one: Etcd) -> None:
    members = plain(one).members
    error = await ask(Access(("127.0.0.1:1", "no-such-host.invalid:2379")))
    assert isinstance(error, StoreGoneError)
    assert (
        str(error) == "127.0.0.1:1: nothing listens there; no-such-host.invalid:2379: no such host"
    )
    assert await ask(Access(("127.0.0.1:1", *members))) is None


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ({"/version": b'{"etcdserver":"3.3.27"}'}, "is etcd 3.3.27: relinkd needs 3.4 or later"),
        ({"/version": b"hello"}, "is not etcd"),
        ({"/version": b'{"etcdserver":"new"}'}, "is not etcd"),
        (
            {"/version": b'{"etcdserver":"3.5.1"}'},
            "has no /v3/kv/range: start etcd with --enable-grpc-gateway=true",
        ),
    ],
)
async def test_another_server(answers: dict[str, bytes], said: str) -> None:
    async def serve(reader: anyio.abc.SocketStream) -> None:
        async with reader:
            while head := await _head(reader):
                body = answers.get(head.split()[1].decode())
                status = b"200 OK" if body is not None else b"404 Not Found"
                body = body if body is not None else b"404 page not found\n"
                length = str(len(body)).encode()
                await reader.send(
                    b"HTTP/1.1 " + status + b"\r\nContent-Length: " + length + b"\r\n\r\n" + body
                )

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(anyio.abc.SocketAttribute.local_port)
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, serve)
        error = await ask(Access((f"127.0.0.1:{port}",)))
        tasks.cancel_scope.cancel()
    assert isinstance(error, StoreRefusedError)
    assert said in str(error)


async def _head(reader: anyio.abc.SocketStream) -> bytes:
    """Return a request, whose body comes with its head or at once after it."""
    found = b""
    while b"\r\n\r\n" not in found:
        try:
            found += await reader.receive()
        except anyio.EndOfStream:
            return b""
    return found


async def test_a_store_that_is_full() -> None:
    with ExitStack() as stack:
        cluster = entered(stack, etcd(1, ["--quota-backend-bytes=65536"]))
        async with open_store(plain(cluster)) as store:
            with pytest.raises(StoreRefusedError, match="takes no more writes"):
                await _fill(store)


async def _fill(store: Store) -> None:
    for number in range(100):
        request = {"key": b"/relinkd/%d" % number, "value": b"x" * 10_000}
        await store.call("/v3/kv/put", request, Changed)
