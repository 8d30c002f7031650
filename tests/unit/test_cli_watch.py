"""`relinkd links --watch`: what is shown, and what is not said too soon."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import ExitStack

import anyio
import pytest
from click.testing import CliRunner

from reconciler.cli import links, watch
from reconciler.cli.commands import FAILED, NO_ENGINE
from reconciler.hosts.files import HostsFiles
from reconciler.settings import Settings
from reconciler.views.report import Row
from tests.builders import container
from tests.machine import Known, Machine
from watchers.errors import EngineGoneError
from watchers.hostsfiles import HostsWatch
from watchers.model import Hint


class Watched:
    """A watch whose observer is the test, and what it has shown."""

    def __init__(self, machine: Machine, stack: ExitStack, recipient: str | None = None) -> None:
        self.machine = machine
        self.rows: list[Row] = []
        files = stack.enter_context(HostsFiles(machine.folder))
        closed = stack.enter_context(HostsWatch())
        self.it = watch._Watching(Settings(), files, closed, recipient, self)
        self.it._mirror = machine.world.mirror
        self.broken = False
        self.began = 0
        """Times that all were said to have been shown."""

    def show(self, found: Iterable[Row]) -> None:
        if self.broken:
            raise BrokenPipeError
        self.rows += found

    def begun(self) -> None:
        self.began += 1

    def hear(self, *names: str) -> None:
        self.it.changed({self.machine.world.id(name) for name in names}, Hint("test"))

    def look(self) -> None:
        self.hear("db", "web", "api")
        self.it.synced()

    async def said(self) -> set[tuple[str, str, str, str]]:
        """What was shown since it was last asked, once that is quiet."""
        await anyio.sleep(0.1)
        found = {(r.recipient, r.alias, r.state, " ".join(r.addresses)) for r in self.rows}
        self.rows.clear()
        return found

    async def play(self, story: Callable[[], Awaitable[None]]) -> None:
        async def run() -> None:
            await story()
            self.it._scope.cancel()

        self.it._observer.run = run  # type: ignore[method-assign,assignment] # it never ends
        await self.it.run()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as found:
        yield found


FIRST = {
    ("web", "db", "linked", "10.0.0.2"),
    ("web", "cache", "waiting", ""),
    ("api", "localhost", "refused", ""),
}


async def test_all_links_once_and_then_what_changes(machine: Machine, stack: ExitStack) -> None:
    watched = Watched(machine, stack)
    world = machine.world

    async def story() -> None:
        watched.hear("db", "web", "api")
        assert await watched.said() == set()  # the look is not complete
        watched.it.synced()
        assert await watched.said() == FIRST
        watched.hear("db")
        watched.it.synced()
        assert await watched.said() == set()
        world.disconnect("db", "back")
        watched.hear("db")
        assert await watched.said() == set()  # relinkd has not written it yet
        machine.deliver("web")
        assert await watched.said() == {("web", "db", "down", "")}
        gone = world.id("web")
        world.remove("web")
        watched.it.changed({gone}, Hint("destroy"))
        assert {row[2] for row in await watched.said()} == {"gone"}

    await watched.play(story)


async def test_a_link_is_linked_when_it_is_in_the_file(machine: Machine, stack: ExitStack) -> None:
    watched = Watched(machine, stack)

    async def story() -> None:
        watched.look()
        assert await watched.said() == FIRST
        machine.world.connect("db", "back", "10.0.0.7")
        watched.hear("db")
        assert await watched.said() == set()
        machine.deliver("web")
        assert await watched.said() == {("web", "db", "linked", "10.0.0.7")}

    await watched.play(story)


@pytest.mark.parametrize("address", ["10.0.0.7", ""])
async def test_an_address_that_nobody_writes_or_takes_out_has_failed(
    machine: Machine, stack: ExitStack, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setattr(watch, "SETTLING", 0.03)
    watched = Watched(machine, stack)

    async def story() -> None:
        watched.look()
        assert await watched.said() == FIRST
        if address:
            machine.world.connect("db", "back", address)
        else:
            machine.world.disconnect("db", "back")
        watched.hear("db")
        assert await watched.said() == {("web", "db", "failed", address)}

    await watched.play(story)


async def test_a_file_changed_by_hand_is_seen(machine: Machine, stack: ExitStack) -> None:
    watched = Watched(machine, stack)

    async def story() -> None:
        watched.look()
        assert await watched.said() == FIRST
        with machine.hosts("web").open("ab") as file:
            file.write(b"192.0.2.1\tcache\n")
        assert await watched.said() == {("web", "cache", "shadowed", "")}

    await watched.play(story)


async def test_one_recipient_by_name_also_when_it_is_made_again(
    machine: Machine, stack: ExitStack
) -> None:
    watched = Watched(machine, stack, "/web")

    async def story() -> None:
        watched.look()
        assert {row[0] for row in await watched.said()} == {"web"}
        gone = machine.world.id("web")
        machine.world.remove("web")
        watched.it.changed({gone}, Hint("destroy"))
        machine.world.add(container("web", "mail", id_="e" * 64), back="10.0.0.9")
        watched.hear("web")
        assert ("web", "mail", "waiting", "") in await watched.said()

    await watched.play(story)


async def test_an_unknown_recipient_is_1(machine: Machine, stack: ExitStack) -> None:
    watched = Watched(machine, stack, "nobody")

    async def story() -> None:
        watched.look()
        await anyio.sleep_forever()

    with pytest.raises(SystemExit) as end:
        await watched.play(story)
    assert end.value.code == FAILED


async def test_no_engine_to_begin_with_is_3(machine: Machine, stack: ExitStack) -> None:
    watched = Watched(machine, stack)

    async def story() -> None:
        watched.it.lost(EngineGoneError("nobody there"))
        await anyio.sleep_forever()

    with pytest.raises(SystemExit) as end:
        await watched.play(story)
    assert end.value.code == NO_ENGINE


async def test_an_engine_lost_later_is_waited_for(
    machine: Machine, stack: ExitStack, capsys: pytest.CaptureFixture[str]
) -> None:
    watched = Watched(machine, stack)

    async def story() -> None:
        watched.look()
        watched.it.lost(EngineGoneError("gone away"))
        watched.it.connected(Known(machine.world))  # type: ignore[arg-type] # as an engine is
        assert await watched.said() == FIRST

    await watched.play(story)
    said = capsys.readouterr().err
    assert "gone away; waiting for it" in said
    assert "the engine is back at unix:///" in said


async def test_a_reader_that_goes_away_ends_it(machine: Machine, stack: ExitStack) -> None:
    watched = Watched(machine, stack)
    watched.broken = True

    async def story() -> None:
        watched.look()
        await anyio.sleep_forever()

    with pytest.raises(BrokenPipeError):
        await watched.play(story)


async def test_once_all_is_shown_it_is_said_so_once(machine: Machine, stack: ExitStack) -> None:
    for name in ("web", "api"):
        machine.world.remove(name)
    watched = Watched(machine, stack)

    async def story() -> None:
        watched.hear("db")
        assert await watched.said() == set()
        assert watched.began == 0  # it has not looked yet
        watched.it.synced()
        assert await watched.said() == set()
        assert watched.began == 1
        watched.look()
        await watched.said()
        assert watched.began == 1

    await watched.play(story)


def test_there_being_none_is_said(machine: Machine) -> None:
    printed: list[Row] = []
    wanted = links._Wanted("web", "failed", gathering=True)
    with CliRunner().isolation() as (_, err, _):
        printer = links._Printer(wanted, printed.append)
        printer.show([])
        printer.begun()
        assert err.getvalue() == b"relinkd: no link of web is failed; waiting for the first\n"
    assert machine.run("links", "--state", "failed").stderr.endswith("no link is failed\n")
