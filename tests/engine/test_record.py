"""Records of scenarios on real engines, which the history checker holds to the promises.

An engine's own events say what was true, and a third process samples the hosts files, so nothing
here is what relinkd was told, or says.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.engine.stack import Stack
from tests.history.across import PROMPT
from tests.history.recording import recording

Story = Callable[[Stack, str, str, list[str]], None]
STORIES: dict[str, Story] = {}
TOLD_AFTER = ("renamed",)
"""Stories in which relinkd may be late, within the bound: `rename` comes after the rename."""


def story(function: Story) -> Story:
    """Have a story told."""
    STORIES[function.__name__.replace("_", "-")] = function
    return function


def await_all(stack: Stack, webs: list[str], *addresses: str) -> None:
    """Wait until every recipient finds `db` at just these addresses."""
    for web in webs:
        stack.await_lookup(web, "db", *addresses)


@story
def another_takes_the_address(stack: Stack, network: str, db: str, webs: list[str]) -> None:
    """A source stops, others start at its address and the next one, and it comes back."""
    for number in range(3):
        stack.client.stop(db)
        stack.run(f"other{number}", network=network)
        stack.client.start(db)
        await_all(stack, webs, stack.address(db, network))


@story
def restarts_and_deaths(stack: Stack, network: str, db: str, webs: list[str]) -> None:
    """A source restarts, dies at once, is paused, and comes back each time."""
    stack.client.restart(db)
    await_all(stack, webs, stack.address(db, network))
    stack.client.kill(db)
    await_all(stack, webs)
    stack.client.start(db)
    stack.client.pause(db)
    stack.client.unpause(db)
    await_all(stack, webs, stack.address(db, network))


@story
def made_anew(stack: Stack, network: str, db: str, webs: list[str]) -> None:
    """A source is removed, another gets its address, and one of its name is made."""
    for number in range(2):
        stack.client.remove(db)
        stack.run(f"other{number}", network=network)
        db = stack.run("db", network=network)
        await_all(stack, webs, stack.address(db, network))


@story
def renamed(stack: Stack, network: str, db: str, webs: list[str]) -> None:
    """A source gets another name, and another container its name."""
    stack.client.rename(db, stack.name("old"))
    await_all(stack, webs)
    new = stack.run("db", network=network)
    await_all(stack, webs, stack.address(new, network))
    stack.client.remove(new)
    stack.client.rename(db, stack.name("db"))
    await_all(stack, webs, stack.address(db, network))


@story
def off_and_on_the_network(stack: Stack, network: str, db: str, webs: list[str]) -> None:
    """A source leaves the network, another joins at its address, and it comes back."""
    stack.client.disconnect(network, db)
    await_all(stack, webs)
    stack.run("other", network=network)
    stack.client.connect(network, db)
    await_all(stack, webs, stack.address(db, network))


@story
def recipients_restart(stack: Stack, network: str, db: str, webs: list[str]) -> None:
    """Recipients restart while their source is stopped, and before it is back."""
    stack.client.stop(db)
    stack.client.restart(webs[0])
    stack.run("other", network=network)
    stack.client.start(db)
    stack.client.restart(webs[1])
    await_all(stack, webs, stack.address(db, network))


@pytest.mark.parametrize("name", STORIES)
def test_no_alias_was_ever_at_anothers_address(stack: Stack, name: str, tmp_path: Path) -> None:
    network = stack.network("n")
    webs = [stack.create(f"web{number}", "db", network=network) for number in range(3)]
    for web in webs:
        stack.client.start(web)
    db = stack.run("db", network=network)
    await_all(stack, webs, stack.address(db, network))
    files = {web: stack.hosts_path(web) for web in webs}
    with recording({"": stack.client}, [network], files, tmp_path, bound=PROMPT) as record:
        STORIES[name](stack, network, db, webs)
    assert record.longest["another's"] == 0.0 or name in TOLD_AFTER
