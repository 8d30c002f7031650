"""Links to other hosts: what is held, shown, and kept while an answer is missing."""

import pytest

from reconciler.hosts.live import Unread
from reconciler.link_variables import asking, variables_of
from reconciler.links.desired import links_of
from reconciler.views.explain import explain
from reconciler.views.graph import picture
from reconciler.views.report import rows
from tests.builders import World, container, id_of, network, record
from tests.unit.test_paths import overlay
from watchers.mirror import STORE
from watchers.model import Offer


class TestHeld:
    """A container of another host to which the engine's DNS would lead an alias."""

    def test_a_network_that_answers_late_lets_go_of_a_name_when_the_other_hosts_container_goes(
        self,
    ) -> None:
        world = World(network("front"))
        world.record(record("b", "db", scope="swarm", ov="10.0.1.4"))
        world.join(network("ov", driver="overlay", scope="swarm"))
        world.add(container("web", "db"), ov="10.0.1.9")
        assert world.lines("web") == ["255.255.255.255 db"]
        world.take_in(world.mirror.foreign.apply_one("b//db", None))
        assert world.affected == {"web"}
        assert world.lines("web") == ["#4 db"]

    def test_a_local_network_of_another_host_is_in_no_dns_here(self) -> None:
        world = World(network("back"))
        world.add(container("web", "db"), back="10.0.0.9")
        world.record(record("b", "db", back="10.0.0.2"))
        assert world.lines("web") == ["#4 db"]

    def test_a_source_of_a_link_is_held_while_its_declared_host_has_none(self) -> None:
        world = overlay("c//db:db")
        world.swarm("ov", "b//db 10.0.1.4")
        assert world.lines("web") == ["255.255.255.255 db"]


class TestSeen:
    def test_rows_and_explain_and_graph_name_the_host(self) -> None:
        world = overlay("//db")
        world.swarm("ov", "b//db 10.0.1.4")
        (row,) = rows(world.desired("web"), Unread.UNREAD, world.mirror)
        assert (row.source, row.host) == ("//db", "b")
        _, steps = explain(world["web"], "db", world.graph, world.mirror, Unread.UNREAD)
        assert "  source: b//db (running)" in steps
        assert "  b//db is reached at 10.0.1.4 (network ov)" in steps
        drawn = picture([(world.desired("web"), Unread.UNREAD)], world.mirror)
        assert [(node.name, node.project) for node in drawn.nodes] == [("web", ""), ("b//db", "b")]

    def test_a_missing_source_is_drawn_on_its_host(self) -> None:
        world = overlay("c//db:d //x:y")
        drawn = picture([(world.desired("web"), Unread.UNREAD)], world.mirror)
        assert {(node.name, node.project) for node in drawn.nodes} == {
            ("web", ""),
            ("c//db", "c"),
            ("//x", ""),
        }

    async def test_variables_have_the_ports_that_its_own_host_tells_and_no_environment(
        self,
    ) -> None:
        world = overlay("//db")
        told = record("b", "db", scope="swarm", ports={"5432/tcp": ""}, ov="10.0.1.4")
        world.record(told)
        links = links_of(world["web"], world.graph, world.mirror)
        assert links is not None

        async def ask(source: str) -> Offer | None:
            raise AssertionError(source)

        offers = asking(world.mirror, ask)
        (found,) = await variables_of(links, world["web"], "documented", "all", offers)
        assert dict(found.variables)["DB_PORT"] == "tcp://10.0.1.4:5432"
        assert "DB_ENV" not in " ".join(name for name, _ in found.variables)


class TestUnheard:
    @pytest.mark.parametrize("who", [STORE, id_of("ov")])
    def test_what_is_not_known_yet_is_not_gone(self, who: str) -> None:
        world = overlay("//db")
        world.mirror.foreign.unheard.add(who)
        assert not world.link("web").known
        assert world.desired("web").unsure == {"db": {"?"}}

    def test_links_of_this_host_never_depend_on_a_store(self) -> None:
        world = overlay("db")
        world.mirror.foreign.unheard.add(STORE)
        assert world.link("web").known
        assert world.desired("web").unsure == {}
