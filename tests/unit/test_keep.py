"""Not known yet is not gone: what stays in a hosts file while an answer is missing."""

from __future__ import annotations

from typing import Any

import pytest

from reconciler.hosts.block import apply
from reconciler.hosts.keep import lines_for
from reconciler.hosts.plan import plan
from reconciler.links.desired import HELD
from tests.builders import World, compose, container, id_of, network
from watchers.model import ContainerAnswer

FRESH = b"127.0.0.1\tlocalhost\n10.0.0.9\tweb\n"


class Kept:
    """A world with a recipient `web`, and its file as it was right before the engine was lost."""

    def __init__(self, links: str, *, engine_line: bytes = b"") -> None:
        self.world = World(network("back"), network("front"), network("bridge"))
        self.links = links
        self.engine_line = engine_line
        self.data = b""

    def web(self, links: str | None = None, **options: Any) -> None:
        on = {"back": "10.0.0.9", "front": "10.0.1.9"}
        self.world.add(container("web", links or self.links, **options), **on)

    def write(self) -> None:
        want = self.world.desired("web")
        data = self.data or FRESH + self.engine_line
        self.data = apply(data, plan(data, *lines_for(want, data, self.world.mirror)).edits)

    def lose(self) -> None:
        self.world.mirror.lose()

    def inspect(self, *names: str) -> None:
        mirror = self.world.mirror
        for name in names:
            one = self.world[name]
            mirror.apply_answer(ContainerAnswer(one.id, mirror.next_revision(), one))

    def says(self) -> list[str]:
        """What the file should say now, live lines alone."""
        lines, _ = lines_for(self.world.desired("web"), self.data, self.world.mirror)
        return [f"{each.address} {each.names[0]}" for each in lines if each.address]


@pytest.fixture
def kept() -> Kept:
    found = Kept("db cache")
    found.world.add(container("db"), front="10.0.1.2")
    found.world.add(container("cache"), back="10.0.0.3")
    found.web()
    found.write()
    return found


def test_without_a_loss_the_lines_are_those_that_are_wanted(kept: Kept) -> None:
    want = kept.world.desired("web")
    assert lines_for(want, kept.data, kept.world.mirror) == (want.lines, want.engine_lines)


def test_what_was_there_stays_until_its_network_answers(kept: Kept) -> None:
    kept.lose()
    assert kept.says() == ["10.0.1.2 db", "10.0.0.3 cache"]
    kept.world.tell("back")
    assert kept.says() == ["10.0.1.2 db", "10.0.0.3 cache"]
    kept.world.disconnect("db", "front")
    kept.world.tell("front")
    kept.inspect("web")
    assert kept.says() == ["10.0.0.3 cache"]


def test_what_is_known_to_be_another_containers_goes_at_once(kept: Kept) -> None:
    kept.world.add(container("thief"), back="10.0.0.8")
    kept.lose()
    kept.world.connect("thief", "back", "10.0.1.2")
    assert kept.says() == ["10.0.0.3 cache"]


def test_what_moved_is_where_it_is_now(kept: Kept) -> None:
    kept.lose()
    kept.world.connect("cache", "back", "10.0.0.7")
    kept.world.tell("front")
    kept.inspect("web", "db", "cache")
    assert kept.says() == ["10.0.1.2 db", "10.0.0.7 cache"]


def test_an_event_withdraws_whatever_is_not_known(kept: Kept) -> None:
    kept.lose()
    kept.world.hear("die", "db")
    assert kept.says() == ["10.0.0.3 cache"]


def test_a_line_that_no_known_label_declares_stays_until_all_are_inspected(kept: Kept) -> None:
    """Engine and endpoint links are in the inspect, which may be late."""
    kept.web("cache")
    kept.lose()
    kept.world.tell("back")
    kept.world.tell("front")
    assert kept.says() == ["10.0.0.3 cache", "10.0.1.2 db"]
    kept.inspect("web")
    assert kept.says() == ["10.0.0.3 cache"]


def test_all_replicas_stay() -> None:
    kept = Kept("shop/db")
    for number in (1, 2):
        labels = compose("shop", "db", number)
        kept.world.add(container(f"db-{number}", labels=labels), front=f"10.0.1.{number}")
    kept.web()
    kept.write()
    kept.lose()
    assert sorted(kept.says()) == ["10.0.1.1 db", "10.0.1.2 db"]


def test_a_held_name_stays_held() -> None:
    kept = Kept("own-db:db")
    kept.world.add(container("own-db", state="exited"))
    kept.world.add(container("db", dns={"back": ["db"]}), back="10.0.0.7")
    kept.web()
    kept.write()
    assert kept.says() == [f"{HELD} db"]
    kept.lose()
    assert kept.says() == [f"{HELD} db"]
    kept.world.add(container("own-db", networks=["front"]))
    assert kept.says() == [f"{HELD} db"]


def test_the_engines_own_line_stays_true_unless_another_has_its_address() -> None:
    line = b"10.0.2.2\tdb 0123456789ab own-db\n"
    kept = Kept("", engine_line=line)
    kept.world.add(container("own-db"), bridge="10.0.2.2")
    kept.world.add(container("other"), back="10.0.0.4")
    whole = container("web", engine_links=["own-db:db"])
    kept.world.add(whole, bridge="10.0.2.9", back="10.0.0.9")
    kept.write()
    assert line in kept.data
    kept.lose()

    def own() -> set[str]:
        _, (found,) = lines_for(kept.world.desired("web"), kept.data, kept.world.mirror)
        return {*found.addresses}

    assert own() == {"10.0.2.2"}
    kept.world.connect("other", "back", "10.0.2.2")
    assert own() == set()
    assert id_of("other") in kept.world.mirror.holders("10.0.2.2")


def test_no_alias_leads_to_two_sources_while_one_of_them_is_not_known() -> None:
    """IPv4 stayed with the first source, and IPv6 went to the second."""
    kept = Kept("one:db two:db")
    kept.world = World(network("back", v6=True), network("front"))
    kept.world.add(container("one"), front="10.0.1.2")
    kept.world.add(container("two"), back="10.0.0.3 fd00::3")
    kept.web()
    kept.write()
    kept.lose()
    kept.world.tell("back")
    assert kept.says() == ["10.0.1.2 db"]
    kept.world.tell("front")
    assert kept.says() == ["10.0.1.2 db"]
