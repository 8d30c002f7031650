"""The order that `make test` cannot assert on engine 28.5: files are right before a `start`.

The fake engine waits right before each `start` for as long as the test wants. A relinkd that needs
the `start`, or anything after it, never gets these files right.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.engine.stack import Daemon, Stack, daemon
from tests.fakes.engine import FakeEngine
from tests.fakes.lives import Hold

GENERATIONS = [
    pytest.param(each, marks=pytest.mark.xdist_group(f"early {each}"))
    for each in ("20", "26", "28", "29")
]


@pytest.fixture(scope="module", params=GENERATIONS)
def running(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[FakeEngine, Daemon]]:
    folder, subnets = tmp_path_factory.mktemp("early"), ("172.17.0.0/16", "fd00:d::/64")
    with (
        FakeEngine(
            request.param, socket=folder / "docker.sock", root=folder, bridge_subnets=subnets
        ) as fake,
        daemon(fake.socket, fake.containers_dir, folder, recorded=False) as relinkd,
    ):
        yield fake, relinkd


@pytest.fixture
def fake(running: tuple[FakeEngine, Daemon]) -> FakeEngine:
    return running[0]


@pytest.fixture
def stack(fake: FakeEngine, running: tuple[FakeEngine, Daemon]) -> Stack:
    return Stack(fake.client, fake.containers_dir, running[1])


@contextmanager
def starting(fake: FakeEngine, stack: Stack, container: str) -> Iterator[None]:
    """Start a container up to the moment before its `start`, which comes after the block.

    By then the engine has built the hosts files as often as it does.
    """
    hold = fake.world.hold = fake.call(Hold)
    thread = threading.Thread(target=stack.client.start, args=[container])
    thread.start()
    try:
        fake.wait(hold.reached.wait())
        yield
        assert thread.is_alive()
    finally:
        fake.world.hold = None
        fake.call(hold.released.set)
        thread.join()


def await_all(stack: Stack, source: str, recipients: list[str]) -> list[str]:
    """Wait until all recipients have the source's addresses, and return these."""
    addresses = [stack.address(source, family=family) for family in (4, 6)]
    for recipient in recipients:
        stack.await_lookup(recipient, "db", *addresses)
    return addresses


def leave_while_stopped(stack: Stack, container: str, network: str) -> None:
    """Stop a container, have another relinkd begin, and take the container off a network."""
    stack.client.stop(container)
    stack.relinkd.stop()
    stack.relinkd.start()
    stack.client.disconnect(network, container)


def test_every_recipient_is_right_before_a_moved_source_starts(
    fake: FakeEngine, stack: Stack
) -> None:
    db = stack.run("db")
    webs = [stack.run(f"web{number}", "db") for number in range(10)]
    before = await_all(stack, db, webs)
    stack.client.stop(db)
    stack.run("squatter")
    with starting(fake, stack, db):
        after = await_all(stack, db, webs)
    assert not {*before} & {*after}


def test_every_recipient_is_right_before_a_new_source_starts(
    fake: FakeEngine, stack: Stack
) -> None:
    webs = [stack.run(f"web{number}", "db") for number in range(3)]
    db = stack.create("db")
    with starting(fake, stack, db):
        await_all(stack, db, webs)


def test_a_recipients_first_process_finds_its_links(fake: FakeEngine, stack: Stack) -> None:
    db = stack.run("db")
    web = stack.create("web", "db")
    for _ in range(2):
        with starting(fake, stack, web):
            await_all(stack, db, [web])
        stack.client.stop(web)


def test_a_source_that_left_a_network_while_stopped_is_linked_before_it_starts(
    fake: FakeEngine, stack: Stack
) -> None:
    better, other = stack.network("a"), stack.network("b")
    db = stack.create("db", network=better)
    web = stack.create("web", "db:db", network=better)
    for container in (db, web):
        stack.client.connect(other, container)
        stack.client.start(container)
    leave_while_stopped(stack, db, better)
    with starting(fake, stack, db):
        stack.await_lookup(web, "db", stack.address(db, other))


def test_an_endpoint_link_of_a_network_left_while_stopped_is_gone_before_the_start(
    fake: FakeEngine, stack: Stack
) -> None:
    left, other = stack.network("c"), stack.network("d")
    one = stack.run("one", network=left)
    two = stack.run("two", network=other)
    links = [f"{stack.name('one')}:db"]
    web = stack.create("linking", "two", network=left, endpoint_links=links)
    stack.client.connect(other, web)
    stack.client.start(web)
    stack.await_lookup(web, "db", stack.address(one, left))
    leave_while_stopped(stack, web, left)
    with starting(fake, stack, web):
        stack.await_lookup(web, "two", stack.address(two, other))
        stack.await_lookup(web, "db")
