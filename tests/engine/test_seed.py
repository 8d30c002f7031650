"""The guide to `docker run --link` of 2015, its own examples played on each real engine.

docs/seed.md says which paragraph each test holds. busybox stands in for training/webapp and
training/postgres; names are the guide's behind this test's prefix.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial

import pytest

from tests.engine.stack import Stack, until
from tests.lab.engines import Engine

SERVE = ["nc", "-ll", "-p", "5432", "-e", "hostname"]
"""A database that answers with its hostname, which the engine made of its ID."""


def _linked(stack: Stack, recipient: str, alias: str) -> bool:
    return bool(stack.state(recipient, alias)["state"] == "linked")


@pytest.mark.parametrize(
    ("publish", "port", "answer"),
    [
        (["-P", "--expose", "5000"], "5000", r"0\.0\.0\.0:\d+"),
        (["-p", "5000:5000"], "5000", r"0\.0\.0\.0:5000"),
        (["-p", "127.0.0.1:5000:5000"], "5000", r"127\.0\.0\.1:5000"),
        (["-p", "127.0.0.1::5000"], "5000", r"127\.0\.0\.1:\d+"),
        (["-p", "127.0.0.1:5000:5000/udp"], "5000/udp", r"127\.0\.0\.1:5000"),
    ],
    ids=["random", "all interfaces", "localhost", "random on localhost", "udp"],
)
def test_port_look_up(
    stack: Stack, engine: Engine, publish: list[str], port: str, answer: str
) -> None:
    name = stack.name("nostalgic_morse")
    # With a link, the way a web container has both.
    stack.run("db")
    link = ["--label", f"relinkd.links={stack.name('db')}:db"]
    engine.docker("run", "-d", "--name", name, *publish, *link, "busybox")
    said = stack.relinkd.call("ports", name, port)
    assert said == engine.docker("port", name, port)
    # Engines that publish on IPv6 too say so on a line of its own.
    assert re.fullmatch(answer, said.splitlines()[0])


@pytest.fixture
def unnamed(stack: Stack, engine: Engine) -> Iterator[str]:
    """The name that the engine gave a container that was given none."""
    container = engine.docker("run", "-d", "--stop-signal", "KILL", "busybox").strip()
    yield str(stack.client.inspect(container)["Name"]).removeprefix("/")
    stack.client.remove(container)


def test_links_rely_on_names_those_too_that_the_engine_made(stack: Stack, unnamed: str) -> None:
    assert re.fullmatch(r"[a-z]+_[a-z]+\d?", unnamed)
    web = stack.run("web", labels={"relinkd.links": f"{unnamed}:db"})
    source = str(stack.client.inspect(unnamed)["Id"])
    stack.await_lookup(web, "db", stack.address(source))


def test_a_name_is_free_again_after_rm_and_after_a_stop_with_rm(stack: Stack) -> None:
    web = stack.run("web", "db")
    first = stack.run("db", auto_remove=True)
    stack.await_lookup(web, "db", stack.address(first))
    stack.client.stop(first)
    stack.await_lookup(web, "db")
    until(lambda: all(each["Id"] != first for each in stack.client.list()), "its removal")
    stack.run("squatter")
    second = stack.run("db")
    stack.await_lookup(web, "db", stack.address(second))
    stack.client.remove(second, force=True)
    stack.await_lookup(web, "db")
    third = stack.run("db")
    stack.await_lookup(web, "db", stack.address(third))


def test_a_link_is_a_name_and_an_alias(stack: Stack) -> None:
    db = stack.run("db")
    stack.run("old", links=[f"{stack.name('db')}:db"])
    stack.run("web", "db:db")
    old = stack.client.inspect(stack.name("old"))["HostConfig"]["Links"]
    assert old == [f"/{stack.name('db')}:/{stack.name('old')}/db"]
    assert stack.client.inspect(stack.name("web"))["HostConfig"]["Links"] is None
    for recipient, declared_by in (("old", "engine"), ("web", "label")):
        until(partial(_linked, stack, recipient, "db"))
        row = stack.state(recipient, "db")
        assert row["declared_by"] == declared_by
        assert row["source"].removeprefix("/") == stack.name("db")
        assert row["addresses"] == [stack.address(db)]


def test_nothing_need_be_published_to_reach_a_source(stack: Stack) -> None:
    db = stack.run("db", cmd=SERVE)
    web = stack.run("web", "db:db")
    stack.await_lookup(web, "db", stack.address(db))
    assert stack.relinkd.call("ports", stack.name("db")) == ""

    def answer() -> str:
        return stack.client.exec(web, ["nc", "-w", "2", "db", "5432"])[1].strip()

    until(lambda: answer() == db[:12], "the database's answer")


def test_variables_of_webdb_with_several_ports(stack: Stack) -> None:
    db = stack.run("db", exposed=["8080", "443", "53/udp", "53/tcp"])
    stack.run("web", "db:webdb")
    until(partial(_linked, stack, "web", "webdb"))
    at = stack.address(db)
    told = stack.relinkd.call("env", stack.name("web")).splitlines()
    assert told[:2] == [f"WEBDB_NAME=/{stack.name('web')}/webdb", f"WEBDB_PORT=tcp://{at}:53"]
    assert sorted(told[2:]) == sorted(
        line
        for number, protocol in ((53, "tcp"), (53, "udp"), (443, "tcp"), (8080, "tcp"))
        for key in [f"WEBDB_PORT_{number}_{protocol.upper()}"]
        for line in (
            f"{key}={protocol}://{at}:{number}",
            f"{key}_ADDR={at}",
            f"{key}_PORT={number}",
            f"{key}_PROTO={protocol}",
        )
    )


def test_the_hosts_file_has_the_recipient_and_the_alias_and_ping_finds_it(stack: Stack) -> None:
    db = stack.run("db")
    web = stack.run("web", "db:db")
    stack.await_lookup(web, "db", stack.address(db))
    _, seen = stack.client.exec(web, ["cat", "/etc/hosts"])
    lines = [line.split() for line in seen.splitlines() if not line.startswith("#")]
    assert [stack.address(web), web[:12]] in lines
    # The alias alone, as in the guide: what else the source is called was not declared.
    assert [line for line in lines if line[0] == stack.address(db)] == [[stack.address(db), "db"]]
    _, pinged = stack.client.exec(web, ["ping", "-c", "3", "-W", "2", "db"])
    assert f"PING db ({stack.address(db)})" in pinged
    assert pinged.count(f"bytes from {stack.address(db)}") == 3


def test_several_recipients_by_several_aliases_are_updated_by_a_restart(stack: Stack) -> None:
    db = stack.run("db")
    recipients = {
        "db": stack.run("web", "db:db"),
        "webdb": stack.run("web2", "db:webdb"),
        "store": stack.run("web3", links=[f"{stack.name('db')}:store"]),
    }
    old = stack.address(db)
    for alias, recipient in recipients.items():
        stack.await_lookup(recipient, alias, old)
    # `docker restart`, but somebody else is quick enough to take its address.
    stack.client.stop(db)
    assert stack.address(stack.run("newcomer")) == old
    stack.client.start(db)
    new = stack.address(db)
    assert new != old
    for alias, recipient in recipients.items():
        stack.await_lookup(recipient, alias, new)
        assert stack.ping(recipient, alias) == new
        others = recipients.keys() - {alias}
        assert not any(stack.lookup(recipient, other) for other in others)
