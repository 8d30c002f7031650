"""Recipients by the `[[link]]` tables of the config file, edited while relinkd runs."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.engine.stack import Daemon, Stack, until


@dataclass
class Configured:
    """A scenario whose relinkd has a config file."""

    stack: Stack
    file: Path

    def tables(self, *links: str) -> str:
        """Return tables for `RECIPIENT SOURCE ALIAS`, under this test's names."""
        found = ""
        for link in links:
            recipient, source, alias = link.split()
            found += (
                f'[[link]]\nrecipient = "{self.stack.name(recipient)}"\n'
                f'source = "{self.stack.name(source)}"\nalias = "{alias}"\n'
            )
        return found

    def edit(self, text: str) -> None:
        """Put another file in place, as editors do."""
        new = self.file.with_suffix(".new")
        new.write_text(text)
        new.rename(self.file)

    def heard(self, event: str, times: int = 1) -> None:
        """Wait until the daemon has said this so often."""
        until(lambda: len(self.stack.relinkd.log(event)) == times, event)

    def written(self, container: str) -> int:
        """Return when a container's hosts file was last written."""
        return self.stack.hosts_path(container).stat().st_mtime_ns


@pytest.fixture
def configured(stack: Stack, tmp_path: Path) -> Iterator[Configured]:
    """Let a relinkd with a config file take the place of the one that all scenarios share."""
    found = Configured(stack, tmp_path / "etc" / "relinkd.toml")
    found.file.parent.mkdir()
    found.file.write_text(found.tables("web-* db database"))
    with stack.instead(tmp_path, f"--config={found.file}"):
        yield found


def test_tables_are_obeyed_as_the_file_changes(configured: Configured) -> None:
    stack = configured.stack
    db = stack.run("db")
    one, two = stack.run("web-1"), stack.run("web-2")
    other, bystander = stack.run("other", "db"), stack.run("bystander")
    for web in (one, two):
        stack.await_lookup(web, "database", stack.address(db))
    stack.await_lookup(other, "db", stack.address(db))
    assert stack.lookup(bystander, "database") == []
    assert stack.ping(one, "database") == stack.address(db)

    # Another alias for one of the two: nobody else's file is touched.
    before = [configured.written(each) for each in (two, other, bystander)]
    configured.edit(configured.tables("web-1 db store", "web-[!1] db database"))
    stack.await_lookup(one, "store", stack.address(db))
    assert stack.lookup(one, "database") == []
    configured.heard("config.reloaded")
    (line,) = stack.relinkd.log("config.reloaded")
    assert (line["links"], line["recipients"]) == (2, 1)
    assert [configured.written(each) for each in (two, other, bystander)] == before

    # A broken edit is said, once, with where; the links stand and are kept true.
    configured.edit(configured.tables("web-1 db x") + '[[link]]\nrecipient = "a"\n')
    configured.heard("config.broken")
    stack.client.stop(db)
    stack.await_lookup(one, "store")
    stack.run("squatter")
    stack.client.start(db)
    for web, alias in ((one, "store"), (two, "database")):
        stack.await_lookup(web, alias, stack.address(db))
    (line,) = stack.relinkd.log("config.broken")
    assert f"{configured.file}: [[link]] number 2: " in line["problem"]
    assert stack.lookup(one, "x") == []

    # Mended, in place this time; and a recipient that comes after it.
    configured.file.write_text(configured.tables("web-* db database"))
    late = stack.run("web-late")
    for web in (one, two, late):
        stack.await_lookup(web, "database", stack.address(db))
    assert stack.lookup(one, "store") == []

    option = f"--config={configured.file}"
    answer = json.loads(stack.relinkd.call("links", option, "--format=json"))
    found = {row["recipient"]: row["declared_by"] for row in answer if row["state"] == "linked"}
    assert found == {
        **{stack.name(web): "config" for web in ("web-1", "web-2", "web-late")},
        stack.name("other"): "label",
    }
    explained = stack.relinkd.call("explain", stack.name("web-1"), "database", option)
    assert "declared by config: " in explained


@pytest.mark.core
def test_what_changed_while_relinkd_was_away_is_obeyed_at_its_start(
    configured: Configured,
) -> None:
    stack = configured.stack
    db = stack.run("db")
    one, two = stack.run("web-1"), stack.run("web-2")
    for web in (one, two):
        stack.await_lookup(web, "database", stack.address(db))
    assert stack.relinkd.stop() == 0
    configured.edit(configured.tables("web-2 db database"))
    stack.relinkd.start()
    stack.await_lookup(one, "database")
    assert stack.lookup(two, "database") == [stack.address(db)]


def test_a_hang_up_has_the_file_read_at_once_and_answered(configured: Configured) -> None:
    stack = configured.stack
    process = stack.relinkd.process
    assert process is not None
    for times in (1, 2):
        process.send_signal(signal.SIGHUP)
        configured.heard("config.reloaded", times)
    assert process.poll() is None


def test_a_hang_up_does_not_end_one_that_stands_by(configured: Configured, tmp_path: Path) -> None:
    first = configured.stack.relinkd
    folder = tmp_path / "second"
    folder.mkdir()
    option = f"--config={configured.file}"
    second = Daemon(first.engine, first.containers_dir, folder, option, recorded=False)
    second.start(awaited="daemon.standby")
    assert second.process is not None
    second.process.send_signal(signal.SIGHUP)
    assert "standing by" in second.call("health")
    assert second.stop() == 0
