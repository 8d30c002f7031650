"""What `relinkd clean` leaves behind: what was there before relinkd first wrote."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from tests.engine.stack import Stack, run_relinkd, until

FOREIGN = b"192.0.2.7\tmine # \xc3\xa0 la main\n\n#\r\n\x00 no text\n"


def _append(stack: Stack, container: str) -> bytes:
    """Add lines of somebody else's, in place as one must; return the whole file."""
    with stack.hosts_path(container).open("r+b") as file:
        file.seek(0, 2)
        file.write(FOREIGN)
    return stack.hosts_path(container).read_bytes()


def _has_block(stack: Stack, container: str) -> bool:
    return b"relinkd begin" in stack.hosts_path(container).read_bytes()


def _without_own_line(stack: Stack, container: str) -> list[bytes]:
    lines = stack.hosts_path(container).read_bytes().split(b"\n")
    return [line for line in lines if container[:12].encode() not in line]


def test_every_file_is_as_it_was_and_the_engines_line_true(stack: Stack) -> None:
    relinkd = stack.relinkd
    assert relinkd.stop() == 0
    try:
        db = stack.run("db")
        web = stack.run("web", "db:store nobody")
        halted, plain = stack.run("halted", "db"), stack.run("plain")
        old = stack.run("old", links=[f"{stack.name('db')}:webdb"])
        before = {each: _append(stack, each) for each in (web, halted, plain, old)}
        engines = stack.address(db)
        relinkd.start()
        for each in (web, halted, old):
            until(partial(_has_block, stack, each))
        for each in (halted, plain):
            stack.client.stop(each)  # engine 28 takes its line out then, and empty ones with it
        stack.client.remove(db)
        stack.await_lookup(old, "webdb")
        stack.run("squatter")
        now = stack.address(stack.run("db"))
        stack.await_lookup(old, "webdb", now)
        assert f"#{engines[1:]}\twebdb " in stack.hosts(old)

        refused = run_relinkd("clean", *relinkd.options)
        assert refused.returncode == 1
        assert "relinkd, process" in refused.stderr
        stack.await_lookup(old, "webdb", now)
        assert relinkd.stop() == 0

        dry = relinkd.call("clean", "--dry-run")
        assert stack.lookup(web, "store") == [now]
        said = relinkd.call("clean")
        assert said.splitlines()[:-1] == dry.replace(" would have ", ": ").splitlines()[:-1]
        for name in ("web", "halted", "old"):
            assert f"{stack.name(name)}: the block of " in said
        assert "turned on again for webdb" in said
        line = f"{engines}\twebdb ".encode()
        expected = {web: before[web], old: before[old].replace(line, f"{now}\twebdb ".encode())}
        assert {each: stack.hosts_path(each).read_bytes() for each in expected} == expected
        assert _without_own_line(stack, halted) == _without_own_line(stack, plain)
        assert relinkd.call("clean") == "nothing to clean\n"
    finally:
        if relinkd.process is None:
            relinkd.start()


def test_files_of_variables_go_and_no_setting_is_said_again(stack: Stack, tmp_path: Path) -> None:
    labels = {"relinkd.env-file": "/links.env"}
    with stack.instead(tmp_path, "--allow=env-file") as relinkd:
        stack.run("db")
        app = stack.run("app", "db", labels=labels)
        halted = stack.create("halted", "db", labels=labels)
        until(lambda: len(relinkd.log("env.written")) == 2, "both files")
        assert "DB_NAME" in stack.client.exec(app, ["cat", "/links.env"])[1]
        relinkd.stop()
        assert "/links.env would be removed" in relinkd.call("clean", "--dry-run")
        said = relinkd.call("clean")
        assert f"{stack.name('app')}: /links.env removed" in said
        assert f"{stack.name('halted')}: /links.env emptied" in said
        assert stack.client.exec(app, ["cat", "/links.env"])[0] != 0
        stack.client.start(halted)
        assert stack.client.exec(halted, ["cat", "/links.env"]) == (0, "")
        assert "/links.env" not in relinkd.call("clean")
        relinkd.start()
