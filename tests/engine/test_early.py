"""The earliest signal: a source's address from its own hosts file, and how it might be misused."""

from __future__ import annotations

import pytest

from tests.engine.stack import Stack, until
from tests.lab.client import ApiError

NONSENSE = "172.17.0.250"
FORGE = [
    "sh",
    "-c",
    (
        "while :; do "
        f'printf "127.0.0.1\\tlocalhost\\n{NONSENSE}\\t%s\\n" "$HOSTNAME" > /etc/hosts; '
        "done"
    ),
]


@pytest.mark.core
def test_an_address_is_taken_from_the_sources_own_file(stack: Stack) -> None:
    db = stack.run("db")
    web = stack.run("web", "db:db")
    stack.await_lookup(web, "db", stack.address(db))
    after = stack.moved(db)
    stack.await_lookup(web, "db", after)
    until(lambda: stack.relinkd.log("link.changed", recipient=stack.name("web"), new=after))
    (line,) = stack.relinkd.log("link.changed", recipient=stack.name("web"), new=after)
    assert line["cause"] in ("address", "connect")
    assert line["after_ms"] >= 0


def test_a_source_that_forges_its_own_file_gains_nothing_by_restarts(stack: Stack) -> None:
    """Its root writes without a pause, so also at each moment of ten restarts."""
    db = stack.run("db", cmd=FORGE)
    web = stack.run("web", "db:db")
    stack.await_lookup(web, "db", stack.address(db))
    with stack.witness(web) as seen:
        for _ in range(10):
            stack.client.restart(db)
            stack.await_lookup(web, "db", stack.address(db))
    assert all(NONSENSE not in addresses for addresses in seen.addresses("db"))


def test_a_start_that_fails_leaves_no_alias_behind(stack: Stack) -> None:
    """A taken port and a missing program: each engine tells of them in its own way."""
    stack.run("holder", ports={"80/tcp": ("127.0.0.1", 18080)})
    clash = stack.create("clash", ports={"80/tcp": ("127.0.0.1", 18080)})
    missing = stack.create("missing", cmd=["/no/such/program"])
    web = stack.run("web", "clash:clash missing:missing")
    with stack.witness(web) as seen:
        for source in (clash, missing):
            with pytest.raises(ApiError):
                stack.client.start(source)
        next_one = stack.run("next")
        until(lambda: not stack.lookup(web, "clash") and not stack.lookup(web, "missing"))
        taken = stack.address(next_one)
        text = stack.hosts(web)
    assert taken not in text
    for alias in ("clash", "missing"):
        # Whatever it was granted for a moment, the last word is that it is gone.
        assert seen.addresses(alias)[-1] == []


def test_two_networks_are_known_at_the_first_start(stack: Stack) -> None:
    first, second = (
        stack.network("first"),
        stack.network("second", "172.30.71.0/24", "fd00:71::/64"),
    )
    db = stack.create("db", network=first)
    stack.client.connect(second, db)
    recipients = {name: stack.run(f"web-{name}", "db:db", network=name) for name in (first, second)}
    stack.client.start(db)
    stack.await_lookup(recipients[first], "db", stack.address(db, first))
    both = [stack.address(db, second), stack.address(db, second, 6)]
    stack.await_lookup(recipients[second], "db", *both)
