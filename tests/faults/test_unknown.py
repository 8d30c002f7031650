"""What is not known yet is not gone: a daemon that begins, or begins again, withdraws nothing true.

A real relinkd beside the fake engine, whose answers come late or not at all.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.engine.stack import Daemon, Stack, daemon, resolve, run_relinkd, until
from tests.fakes.engine import FakeEngine


@pytest.fixture
def relinkd(fake: FakeEngine, tmp_path: Path) -> Iterator[Daemon]:
    with daemon(fake.socket, fake.containers_dir, tmp_path, recorded=False) as relinkd:
        yield relinkd


@pytest.fixture
def stack(fake: FakeEngine, relinkd: Daemon) -> Stack:
    return Stack(fake.client, fake.containers_dir, relinkd)


@contextmanager
def always(condition: Callable[[], object]) -> Iterator[None]:
    """Demand that a condition holds whenever it is looked at while the body runs."""
    broken: list[float] = []
    ended = threading.Event()

    def look() -> None:
        while not ended.is_set():
            if not condition():
                broken.append(time.monotonic())
            time.sleep(0.001)

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield
    finally:
        ended.set()
        looking.join()
    assert broken == []


def names(stack: Stack, recipient: str, address: str) -> Callable[[], bool]:
    """Return whether a recipient's file gives `db` an address."""
    return lambda: resolve(stack.hosts(recipient), "db") == [address]


@dataclass
class Silent:
    """A link over a network that does not answer, of which the daemon that ended knew."""

    network: str
    db: str
    web: str
    address: str


@pytest.fixture
def silent(fake: FakeEngine, stack: Stack, relinkd: Daemon) -> Silent:
    back = stack.client.network(stack.network("back"))["Id"]
    db = stack.run("db", network=stack.name("back"))
    web = stack.run("web", "db", network=stack.name("back"))
    address = stack.address(db, stack.name("back"))
    stack.await_lookup(web, "db", address)
    assert relinkd.stop() == 0
    fake.faults.fail(f"^/networks/{back}")
    return Silent(back, db, web, address)


def test_a_network_that_does_not_answer_takes_no_live_line(
    fake: FakeEngine, stack: Stack, relinkd: Daemon, silent: Silent
) -> None:
    with always(names(stack, silent.web, silent.address)):
        relinkd.start("daemon.synced")
        url = f"/networks/{silent.network}"
        asked = [request.url for request in fake.requests].count(url)
        until(lambda: [request.url for request in fake.requests].count(url) > asked + 2)
        fake.faults.heal()
        until(lambda: stack.state("web", "db")["state"] == "linked", "the link")
    # It is followed from then on.
    stack.client.stop(silent.db)
    stack.await_lookup(silent.web, "db")


def test_sync_fails_where_a_network_does_not_answer_and_names_it(
    stack: Stack, relinkd: Daemon, silent: Silent
) -> None:
    with always(names(stack, silent.web, silent.address)):
        done = run_relinkd("sync", *relinkd.options)
    assert done.returncode == 1, done.stderr
    assert stack.name("back") in done.stderr or silent.network[:12] in done.stderr


def test_an_inspect_that_takes_long_takes_no_healthy_source_and_none_that_shares_a_network(
    fake: FakeEngine, stack: Stack, relinkd: Daemon
) -> None:
    check = {"Test": ["CMD", "true"], "Interval": 10**9}
    db = stack.run("db", healthcheck=check)
    fake.set_health(db, "healthy")
    web = stack.run("web", "db", labels={"relinkd.wait-for": "healthy"})
    owner = stack.run("owner")
    shared = stack.run("shared", network=f"container:{stack.name('owner')}")
    kid = stack.run("kid", "shared:db")
    first, second = stack.address(db), stack.address(owner)
    stack.await_lookup(web, "db", first)
    stack.await_lookup(kid, "db", second)
    assert relinkd.stop() == 0
    for one in (db, owner, shared):
        fake.faults.hang(f"^/containers/{one}/json")
    with always(names(stack, web, first)), always(names(stack, kid, second)):
        relinkd.start("daemon.synced")
        fake.faults.heal()
        until(lambda: stack.state("web", "db")["state"] == "linked", "the link")
        until(lambda: stack.state("kid", "db")["state"] == "linked", "the link")


def test_a_closed_file_is_not_answered_by_what_was_known_before_the_engine_was_lost(
    fake: FakeEngine, stack: Stack, relinkd: Daemon
) -> None:
    """The source's address may be another's by now, and nobody was told."""
    db = stack.run("db")
    web = stack.run("web", "db")
    old = stack.address(db)
    stack.await_lookup(web, "db", old)
    fake.stop_listening()
    until(lambda: relinkd.log("engine.lost"), "the loss")
    rebuilt = "".join(
        line
        for line in stack.hosts(web).splitlines(keepends=True)
        if not line.startswith(("# relinkd", old))
    )
    stack.hosts_path(web).write_text(rebuilt)
    with always(lambda: resolve(stack.hosts(web), "db") == []):
        relinkd.call("health", code=1)  # answered after the close, which came before
    fake.listen_again()
    stack.await_lookup(web, "db", old)
