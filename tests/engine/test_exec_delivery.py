"""Hosts files without the engine's containers directory: by a command in each recipient."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.engine.stack import Daemon, Stack, until

PAUSED = "it is paused: the engine runs no command in it until unpaused"
BY_EXEC = ("--delivery=exec", "--allow=exec")
NOT_OURS = b"192.0.2.7\tmine # \xc3\xa0 la main\n\n#\r\n\x00 no text\n"


class Inside(Daemon):
    """A relinkd that is told of no directory, nor are its commands."""

    @property
    def options(self) -> list[str]:
        """The settings that every command of this scenario has."""
        nowhere = self.run_dir / "nowhere"
        run_dir = f"--run-dir={self.run_dir}"
        return [f"--engine=unix://{self.engine}", f"--containers-dir={nowhere}", run_dir]

    def call(self, *arguments: str, code: int = 0) -> str:
        """Run a command that reaches files as the daemon does."""
        return super().call(arguments[0], *BY_EXEC, *arguments[1:], code=code)


@pytest.fixture
def by_exec(stack: Stack, tmp_path: Path) -> Iterator[Stack]:
    """Let a relinkd that has the engine's socket alone take the place of the one that all share."""
    with stack.instead(tmp_path, *BY_EXEC, kind=Inside):
        yield stack
        stack.client.sweep(stack.prefix)


def outside(data: bytes) -> bytes:
    """Leave the block out of a hosts file."""
    before, begin, rest = data.partition(b"# relinkd begin\n")
    assert begin
    return before + rest.partition(b"# relinkd end\n")[2]


def changes(stack: Stack, recipient: str) -> list[dict[str, Any]]:
    return stack.relinkd.log("link.changed", recipient=stack.name(recipient))


def await_told(stack: Stack, recipient: str, times: int) -> None:
    """Wait until a change that is in the file was read back, and told."""
    until(lambda: len(changes(stack, recipient)) >= times, f"change {times}")


def reasons(stack: Stack, recipient: str) -> list[str]:
    name = stack.name(recipient)
    lines = (stack.relinkd.log(f"delivery.{how}", recipient=name) for how in ("failed", "refused"))
    return [line["reason"] for each in lines for line in each]


def resumed(stack: Stack, recipient: str) -> list[dict[str, Any]]:
    return stack.relinkd.log("delivery.resumed", recipient=stack.name(recipient))


def append(stack: Stack, container: str) -> None:
    """Add lines of somebody else's, in place."""
    with stack.hosts_path(container).open("ab") as file:
        file.write(NOT_OURS)


@pytest.mark.core
def test_a_link_is_written_and_follows_its_source_and_all_else_stays(by_exec: Stack) -> None:
    stack = by_exec
    db = stack.run("db")
    web = stack.run("web", "db:store nobody")
    stack.await_lookup(web, "store", stack.address(db))
    await_told(stack, "web", 1)
    (started,) = stack.relinkd.log("daemon.started")
    assert (started["delivery"], started["reason"]) == ("exec", "--delivery exec")
    inode = stack.hosts_path(web).stat().st_ino
    append(stack, web)
    before = stack.hosts_path(web).read_bytes()

    old = stack.address(db)
    stack.client.stop(db)
    stack.await_lookup(web, "store")
    await_told(stack, "web", 2)
    stack.run("stranger")
    stack.client.start(db)
    new = stack.address(db)
    assert new != old
    stack.await_lookup(web, "store", new)
    await_told(stack, "web", 3)
    after = stack.hosts_path(web).read_bytes()
    assert (len(after), outside(after)) == (len(before), outside(before))
    assert stack.hosts_path(web).stat().st_ino == inode
    assert f"({new})" in stack.client.exec(web, ["ping", "-c1", "-W1", "store"])[1]
    lines = changes(stack, "web")
    assert [(line["old"], line["new"]) for line in lines] == [(None, old), (old, None), (None, new)]
    assert {(line["of"], line["cause"]) for line in lines[1:]} <= {
        (stack.name("db"), cause) for cause in ("disconnect", "die", "connect", "start")
    }
    assert reasons(stack, "web") == []


def test_a_recipient_that_restarts_has_its_links_again(by_exec: Stack) -> None:
    stack = by_exec
    db = stack.run("db")
    web = stack.run("web", "db")
    stack.await_lookup(web, "db", stack.address(db))
    for _ in range(2):
        stack.client.restart(web)
        stack.await_lookup(web, "db", stack.address(db))
    stack.client.stop(web)
    new = stack.moved(db)
    assert stack.state("web", "db")["state"] == "idle"
    stack.client.start(web)
    stack.await_lookup(web, "db", new)
    assert reasons(stack, "web") == []


def test_its_own_restart_leaves_what_is_right_and_finds_what_moved(by_exec: Stack) -> None:
    stack = by_exec
    db = stack.run("db")
    web = stack.run("web", "db")
    stack.await_lookup(web, "db", stack.address(db))
    written = stack.hosts_path(web).read_bytes()
    stack.relinkd.stop()
    stack.relinkd.start()
    assert stack.state("web", "db")["state"] == "linked"
    assert stack.hosts_path(web).read_bytes() == written
    stack.relinkd.stop()
    new = stack.moved(db)
    stack.relinkd.start()
    stack.await_lookup(web, "db", new)


def test_one_network_namespace_has_one_file(by_exec: Stack) -> None:
    stack = by_exec
    db = stack.run("db")
    first = stack.run("first", "db:one")
    stack.run("second", "db:two", network=f"container:{first}")
    for alias in ("one", "two"):
        stack.await_lookup(first, alias, stack.address(db))
    new = stack.moved(db)
    for alias in ("one", "two"):
        stack.await_lookup(first, alias, new)


# -- what a command does not reach -----------------------------------------------------------------


@pytest.mark.parametrize("alone", [True, False], ids=["moved", "down"])
def test_a_paused_recipient_is_right_once_it_goes_on(by_exec: Stack, *, alone: bool) -> None:
    stack = by_exec
    db = stack.run("db")
    web = stack.run("web", "db")
    stack.await_lookup(web, "db", old := stack.address(db))
    stack.client.pause(web)
    wanted = []
    if alone:
        wanted = [stack.moved(db)]
    else:
        stack.client.stop(db)
    until(lambda: reasons(stack, "web"), "it to be refused")
    assert "it is paused" in reasons(stack, "web")[0]
    assert stack.lookup(web, "db") == [old]
    assert "paused: the engine runs no command in it" in stack.relinkd.call("check", code=1)
    if alone:
        row = stack.state("web", "db")
        assert (row["state"], row["reason"]) == (
            "failed",
            f"the hosts file still has {old}; {PAUSED}",
        )
    stack.client.unpause(web)
    stack.await_lookup(web, "db", *wanted)
    until(lambda: resumed(stack, "web"), "it to be told")


def test_an_image_without_dd_and_a_read_only_root_are_told_of(by_exec: Stack) -> None:
    stack = by_exec
    db = stack.run("db")
    single = stack.run("single", "db", image="single")
    fixed = stack.run("fixed", "db", read_only=True)
    web = stack.run("web", "db")
    stack.await_lookup(web, "db", stack.address(db))
    for recipient, said in (
        ("single", "its image has no dd"),
        ("fixed", "its root file system is read-only"),
    ):
        until(lambda name=recipient: reasons(stack, name), recipient)  # type: ignore[misc] # bound
        assert said in reasons(stack, recipient)[0]
    new = stack.moved(db)
    stack.await_lookup(web, "db", new)
    assert stack.lookup(single, "db") == stack.lookup(fixed, "db") == []
    # Once each, however often it was tried.
    assert len(reasons(stack, "single")) == len(reasons(stack, "fixed")) == 1
    assert stack.state("fixed", "db")["state"] == "failed"
    answer = stack.relinkd.call("check", code=1)
    assert f"{stack.name('fixed')}: its root file system is read-only" in answer


def test_a_recipient_by_link_waits_for_all_of_its_sources(by_exec: Stack) -> None:
    stack = by_exec
    db, cache = stack.run("db"), stack.run("cache")
    web = stack.run("web", "db:store", links=[f"{stack.name('cache')}:cache"])
    stack.await_lookup(web, "store", stack.address(db))
    stack.client.stop(cache)
    until(lambda: reasons(stack, "web"), "it to be refused")
    assert "while a source of its --link is down" in reasons(stack, "web")[0]
    assert f"{stack.name('cache')}, a source of its --link, is down" in stack.relinkd.call(
        "check", code=1
    )
    new = stack.moved(db)
    assert stack.lookup(web, "store") != [new]
    stack.client.start(cache)
    stack.await_lookup(web, "store", new)
    until(lambda: resumed(stack, "web"), "it to be told")
    until(lambda: stack.lookup(web, "cache") == [stack.address(cache)], "the engine's own")


def test_a_file_of_the_users_is_never_written(by_exec: Stack, tmp_path: Path) -> None:
    stack = by_exec
    theirs = tmp_path / "theirs"
    text = b"127.0.0.1 localhost\n# relinkd begin\n10.9.8.7        db\n# relinkd end\n"
    theirs.write_bytes(text)
    db = stack.run("db")
    stack.run("web", "db", binds=[f"{theirs}:/etc/hosts"])
    stack.run("plain", binds=[f"{theirs}:/etc/hosts"])
    other = stack.run("other", "db")
    stack.await_lookup(other, "db", stack.address(db))
    stack.relinkd.stop()
    stack.relinkd.start()
    stack.moved(db)
    stack.await_lookup(other, "db", stack.address(db))
    assert stack.state("web", "db")["state"] == "failed"
    stack.relinkd.stop()
    stack.relinkd.call("clean")
    assert theirs.read_bytes() == text


def test_a_stopped_recipient_is_asked_nothing_and_written_at_its_start(by_exec: Stack) -> None:
    stack = by_exec
    db = stack.run("db")
    web = stack.create("web", "db")
    other = stack.run("other", "db")
    stack.await_lookup(other, "db", stack.address(db))
    assert stack.state("web", "db")["state"] == "idle"
    assert reasons(stack, "web") == []
    stack.client.start(web)
    stack.await_lookup(web, "db", stack.address(db))


# -- commands --------------------------------------------------------------------------------------


def test_commands_read_and_write_by_exec(by_exec: Stack) -> None:
    stack = by_exec
    relinkd = stack.relinkd
    relinkd.stop()
    db = stack.run("db")
    web, old = stack.run("web", "db"), stack.run("old", links=[f"{stack.name('db')}:webdb"])
    stack.run("plain")
    single = stack.run("single", image="single")
    for each in (web, old):
        append(stack, each)
    before = {each: stack.hosts_path(each).read_bytes() for each in (web, old, single)}
    address = stack.address(db)

    assert f"{stack.name('web')}: db (IPv4) nothing -> {address}" in relinkd.call(
        "sync", "--dry-run"
    )
    assert stack.state("web", "db")["state"] == "failed"
    assert stack.lookup(web, "db") == []
    relinkd.call("sync")
    assert stack.lookup(web, "db") == [address]
    assert stack.state("web", "db")["state"] == "linked"
    answer = relinkd.call("explain", stack.name("web"), "db")
    assert f"  {address}" in answer
    assert "(ours)" in answer
    assert stack.name("db") in relinkd.call("graph")
    check = relinkd.call("check")
    assert "delivery exec: --delivery exec" in check
    assert "GET /containers/{id}/archive" not in check

    new = stack.moved(db)
    relinkd.call("sync")
    assert stack.lookup(web, "db") == [new]
    assert stack.lookup(old, "webdb") == [new]

    dry = relinkd.call("clean", "--dry-run")
    assert stack.lookup(web, "db") == [new]
    said = relinkd.call("clean")
    would = [line.replace(" would have ", ": ", 1) for line in dry.splitlines()[:-1]]
    assert said.splitlines()[:-1] == would
    assert f"{stack.name('web')}: the block of " in said
    expected = {
        web: before[web],
        single: before[single],
        old: before[old].replace(f"{address}\twebdb".encode(), f"{new}\twebdb".encode()),
    }
    assert {each: stack.hosts_path(each).read_bytes() for each in expected} == expected
    assert relinkd.call("clean") == "nothing to clean\n"


def test_auto_is_exec_where_the_directory_is_not_and_path_where_it_is(
    by_exec: Stack, tmp_path: Path
) -> None:
    stack = by_exec
    stack.relinkd.stop()
    db = stack.run("db")
    web = stack.run("web", "db")
    auto = ("--delivery=auto", "--allow=exec")
    with stack.instead(tmp_path / "auto", *auto, kind=Inside) as relinkd:
        stack.await_lookup(web, "db", stack.address(db))
        (started,) = relinkd.log("daemon.started")
        assert started["delivery"] == "exec"
        assert "there is no directory" in started["reason"]
    with stack.instead(tmp_path / "path", *auto) as relinkd:
        stack.await_lookup(web, "db", stack.moved(db))
        (started,) = relinkd.log("daemon.started")
        expected = ("path", str(stack.containers_dir))
        assert (started["delivery"], started["containers_dir"]) == expected
