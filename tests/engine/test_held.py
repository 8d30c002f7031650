"""Two recipients, one alias, two sources on one network: nobody ever reaches the other's.

Asserted by what a resolver and a connection inside the recipient get. A recipient that relinkd
leaves alone shows that the engine's DNS would have given the other's.
"""

from __future__ import annotations

import pytest

from tests.engine.stack import Stack

HELD = ["255.255.255.255", "::ffff:255.255.255.255"]
SERVE = ["sh", "-c", 'while :; do echo "$HOSTNAME" | nc -l -p 80; done']


def _asked(stack: Stack, recipient: str) -> str:
    """What a connection to `db` answers, from inside."""
    _, output = stack.client.exec(recipient, ["nc", "-w", "2", "db", "80"])
    return output.strip()


def _both(stack: Stack, container: str, network: str) -> list[str]:
    return [stack.address(container, network), stack.address(container, network, 6)]


@pytest.mark.core
def test_an_alias_is_held_while_its_own_source_is_down(stack: Stack) -> None:
    shared = stack.network("shared", "172.30.5.0/24", "fd00:35::/64")
    sources, recipients = {}, {}
    for side in ("a", "b"):
        sources[side] = stack.run(
            f"db-{side}", network=shared, aliases=["db"], cmd=SERVE, hostname=f"db-{side}"
        )
        recipients[side] = stack.run(f"web-{side}", f"/db-{side}:db", network=shared)
    alone = stack.run("alone", network=shared)
    stack.await_lookup(recipients["a"], "db", *_both(stack, sources["a"], shared))
    for side in ("a", "b"):
        assert stack.ping(recipients[side], "db") in _both(stack, sources[side], shared)
        assert _asked(stack, recipients[side]) == f"db-{side}"

    stack.client.stop(sources["a"])
    stack.await_lookup(recipients["a"], "db", *HELD)
    assert stack.ping(alone, "db") in _both(stack, sources["b"], shared)
    assert _asked(stack, alone) == "db-b"
    assert stack.ping(recipients["a"], "db") in HELD
    assert "db-b" not in _asked(stack, recipients["a"])
    _, six = stack.client.exec(recipients["a"], ["ping6", "-c1", "-W1", "db"])
    assert stack.address(sources["b"], shared, 6) not in six
    assert _asked(stack, recipients["b"]) == "db-b"
    row = stack.state("web-a", "db")
    assert (row["state"], row["held"]) == ("down", True)
    explained = stack.relinkd.call("explain", stack.name("web-a"), "db", code=1)
    assert "held" in explained

    stack.client.start(sources["a"])
    stack.await_lookup(recipients["a"], "db", *_both(stack, sources["a"], shared))
    assert _asked(stack, recipients["a"]) == "db-a"


def test_an_alias_is_not_held_where_no_dns_would_give_it(stack: Stack) -> None:
    db = stack.run("db")
    stack.run("other")
    # Another container has that name, on the default bridge, which has no DNS of its own.
    alias = stack.name("other")
    web = stack.run("web", labels={"relinkd.links": f"{stack.name('db')}:{alias}"})
    stack.await_lookup(web, alias, stack.address(db))
    stack.client.stop(db)
    stack.await_lookup(web, alias)
    assert stack.state("web", alias)["held"] is False
    assert "bad address" in stack.ping(web, alias)
