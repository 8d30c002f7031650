"""What is asked of other hosts, and what is withdrawn while the engine is out of reach."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from pathlib import Path

import pytest

from reconciler.abroad import Abroad
from reconciler.contract import Change
from reconciler.fleet import FleetListener
from reconciler.hosts.live import live_before
from tests.builders import World, container, id_of, network, record
from tests.wired import settle, wired
from watchers.errors import EngineGoneError
from watchers.mirror import STORE
from watchers.model import Hint

OV = network("ov", driver="overlay", scope="swarm")


class Asked:
    """Notes what is wanted."""

    def __init__(self, world: World) -> None:
        self.wanted: list[tuple[set[str], bool]] = []
        self._abroad = Abroad(world.mirror, world.graph, lambda: self)
        self._world = world

    def want(self, networks: AbstractSet[str], *, by_name: bool) -> None:
        names = {self._world.mirror.networks[each].name for each in networks}
        self.wanted.append((names, by_name))

    def tell(self, *changed: str) -> None:
        graph, mirror = self._world.graph, self._world.mirror
        ids = {self._world.id(each) for each in changed}
        self._abroad.changed(Change(ids, graph.update(ids, mirror)))


def test_only_a_link_to_another_host_has_a_network_asked() -> None:
    world = World(OV, network("back"))
    asked = Asked(world)
    world.add(container("web", "db"), ov="10.0.1.9")
    asked.tell("web")
    assert asked.wanted == []
    world.add(container("api", "//db"), ov="10.0.1.8", back="10.0.0.8")
    asked.tell("api")
    assert asked.wanted == [({"ov"}, True)]


def test_what_is_wanted_is_said_once() -> None:
    world = World(OV)
    asked = Asked(world)
    world.add(container("web", "//db"), ov="10.0.1.9")
    asked.tell("web")
    asked.tell("web")
    assert asked.wanted == [({"ov"}, True)]


def test_a_recipient_that_stops_needs_its_network_no_longer() -> None:
    world = World(OV)
    asked = Asked(world)
    world.add(container("web", "//db"), ov="10.0.1.9")
    asked.tell("web")
    world.hear("die", "web")
    asked.tell("web")
    assert asked.wanted[-1] == (set(), True)
    gone = world.id("web")
    world.remove("web")
    asked.tell(gone)
    asked._abroad.changed(Change({gone}, {gone}))
    assert asked.wanted[-1] == (set(), False)


def test_a_recipient_in_anothers_network_has_that_networks_asked() -> None:
    world = World(OV)
    asked = Asked(world)
    world.add(container("net"), ov="10.0.1.9")
    world.add(container("web", "//db", mode="container:net"))
    asked.tell("net", "web")
    assert asked.wanted[-1] == ({"ov"}, True)


# -- while the engine is out of reach --------------------------------------------------------------


def file_of(folder: Path, name: str) -> Path:
    path = folder / id_of(name) / "hosts"
    if not path.exists():
        path.parent.mkdir()
        path.write_text("127.0.0.1\tlocalhost\n")
    return path


def live(path: Path, alias: str) -> tuple[str, ...]:
    return live_before(path.read_bytes()).get((alias, 4), ())


def two_links() -> World:
    """`web` is linked to `db` here and to `q` on another host."""
    world = World(OV)
    world.add(container("web", "db //q"), ov="10.0.1.9")
    world.add(container("db"), ov="10.0.1.2")
    world.record(record("b", "q", scope="swarm", ov="10.0.1.4"))
    return world


@pytest.mark.parametrize("moved", [None, "10.0.1.7"])
async def test_the_other_hosts_line_goes_and_this_hosts_stays(
    moved: str | None, tmp_path: Path
) -> None:
    world, path = two_links(), file_of(tmp_path, "web")
    async with wired(world, tmp_path) as wiring:
        assert (live(path, "db"), live(path, "q")) == (("10.0.1.2",), ("10.0.1.4",))
        wiring.loop.lost(EngineGoneError("gone"))
        world.mirror.lose()
        told = record("b", "q", scope="swarm", ov=moved) if moved else None
        wiring.loop.cut(world.mirror.foreign.apply_one("b//q", told), Hint("cut"))
        assert (live(path, "db"), live(path, "q")) == (("10.0.1.2",), ())


async def test_what_a_store_tells_meanwhile_is_not_left_for_later(tmp_path: Path) -> None:
    world, path = two_links(), file_of(tmp_path, "web")
    async with wired(world, tmp_path) as wiring:
        wiring.loop.lost(EngineGoneError("gone"))
        world.mirror.lose()
        listener = FleetListener(wiring.loop)
        listener.changed(world.mirror.foreign.apply_one("b//q", None), Hint("store"))
        listener.flush()
        assert (live(path, "db"), live(path, "q")) == (("10.0.1.2",), ())


async def test_a_line_that_is_still_true_stays(tmp_path: Path) -> None:
    world, path = two_links(), file_of(tmp_path, "web")
    async with wired(world, tmp_path) as wiring:
        wiring.loop.lost(EngineGoneError("gone"))
        world.mirror.lose()
        foreign = world.mirror.foreign
        wiring.loop.cut({"b//q", *foreign.apply_one("b//x", record("b", "x"))}, Hint("cut"))
        assert live(path, "q") == ("10.0.1.4",)


async def test_at_a_new_start_a_line_waits_for_the_store(tmp_path: Path) -> None:
    world, path = two_links(), file_of(tmp_path, "web")
    async with wired(world, tmp_path):
        pass
    world = World(OV)
    world.add(container("web", "db //q"), ov="10.0.1.9")
    world.mirror.foreign.unheard.add(STORE)
    async with wired(world, tmp_path) as wiring:
        assert (live(path, "db"), live(path, "q")) == ((), ("10.0.1.4",))
        world.add(container("other"), ov="10.0.1.4")
        await settle(wiring)
        assert live(path, "q") == (), "another container is known to have its address"


async def test_a_store_that_never_tells_is_given_up(tmp_path: Path) -> None:
    world, path = two_links(), file_of(tmp_path, "web")
    async with wired(world, tmp_path):
        pass
    world = World(OV)
    world.add(container("web", "db //q"), ov="10.0.1.9")
    world.mirror.foreign.unheard.add(STORE)
    async with wired(world, tmp_path) as wiring:
        wiring.loop.cut(world.mirror.foreign.heard(STORE), Hint("cut"))
        assert live(path, "q") == ()
