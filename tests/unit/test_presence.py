"""What is known before an answer: addresses from a source's own file, and what is still to come."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.builders import World, container, id_of, network
from watchers.model import (
    ContainerAnswer,
    Endpoint,
    Hint,
    Network,
    NetworkAnswer,
    NetworkListAnswer,
)

DB, OTHER = id_of("db"), id_of("other")
BACK, FRONT = id_of("back"), id_of("front")
ADDRESS = "10.1.0.5"


def net(name: str, *subnets: str, gateway: str = "") -> Network:
    return replace(network(name), subnets=subnets, gateways=(gateway,) if gateway else ())


@pytest.fixture
def world() -> World:
    """`db`, configured for one network of two, is down."""
    found = World(
        net("back", "10.1.0.0/24", "fd01::/64", gateway="10.1.0.1"), net("front", "10.2.0.0/24")
    )
    found.add(container("db", state="exited", started=5, networks=["back"]))
    return found


def believe(world: World, *addresses: str) -> set[str]:
    """Have the file of `db` show these; return what changed by it."""
    return world.mirror.apply_own_addresses(DB, addresses)


def at(world: World, name: str = "db") -> dict[str, tuple[str | None, str | None]]:
    """The addresses of a container by network."""
    names = {each.id: each.name for each in world.networks.values()}
    endpoints = world.mirror.endpoints(id_of(name)).items()
    return {names[network]: (each.ipv4, each.ipv6) for network, each in endpoints}


class TestTrusting:
    """The file is the engine's alone while its container does not run."""

    @pytest.mark.parametrize("state", ["exited", "created", "dead"])
    def test_before_connect_it_is_believed(self, world: World, state: str) -> None:
        world.add(container("db", state=state, started=5, networks=["back"]))
        assert believe(world, ADDRESS) == {DB}
        assert at(world) == {"back": (ADDRESS, None)}
        assert world["db"].state == "starting"
        assert world["db"].started > 5
        assert world.mirror.is_provisional(DB)
        assert believe(world, ADDRESS) == set()  # no news

    @pytest.mark.parametrize("state", ["running", "paused"])
    def test_while_it_runs_its_root_may_write_anything(self, world: World, state: str) -> None:
        world.add(container("db", state=state, networks=["back"]))
        assert believe(world, ADDRESS) == set()
        assert at(world) == {}

    @pytest.mark.parametrize(
        "address",
        [
            pytest.param("10.2.0.5", id="of a network that it is not configured for"),
            pytest.param("192.0.2.5", id="of no network"),
            pytest.param("10.1.0.1", id="of the gateway"),
            pytest.param("127.0.0.1", id="of itself"),
        ],
    )
    def test_no_other_address_counts(self, world: World, address: str) -> None:
        assert believe(world, address) == set()
        assert (at(world), world["db"].state) == ({}, "exited")

    def test_none_that_another_container_has(self, world: World) -> None:
        world.add(container("other"), back=ADDRESS)
        assert believe(world, ADDRESS) == set()
        assert at(world) == {}

    def test_both_families_and_no_two_of_one(self, world: World) -> None:
        believe(world, ADDRESS, "fd01::5")
        assert at(world) == {"back": (ADDRESS, "fd01::5")}
        assert believe(world, ADDRESS, "10.1.0.6") == {DB}
        assert at(world) == {}

    def test_each_of_its_networks(self, world: World) -> None:
        world.add(container("db", state="exited", networks=["back", "front"]))
        believe(world, ADDRESS, "10.2.0.5")
        assert at(world) == {"back": (ADDRESS, None), "front": ("10.2.0.5", None)}

    def test_of_one_that_is_not_inspected_yet_any_network(self, world: World) -> None:
        """A client may create and start at once."""
        world.add(container("db", state="created", inspected=False))
        world.mirror.apply_answer(ContainerAnswer(DB, world.mirror.next_revision(), None))
        world.add(container("db", state="created", inspected=False))
        assert believe(world, "10.2.0.5") == {DB}
        assert at(world) == {"front": ("10.2.0.5", None)}

    def test_nothing_of_one_that_is_unknown(self, world: World) -> None:
        assert world.mirror.apply_own_addresses(OTHER, [ADDRESS]) == set()


class TestConfirming:
    def test_what_is_left_to_confirm_is_where_no_connect_came(self, world: World) -> None:
        assert world.mirror.unconfirmed(DB) == set()
        believe(world, ADDRESS)
        assert world.mirror.unconfirmed(DB) == {BACK}
        world.hear("connect", "db", "back")
        assert world.mirror.unconfirmed(DB) == set()

    def test_connect_and_the_networks_answer(self, world: World) -> None:
        believe(world, ADDRESS)
        world.hear("connect", "db", "back", time_ns=7)
        assert at(world) == {"back": (ADDRESS, None)}
        assert world["db"].started == 7
        world.connect("db", "back", ADDRESS)
        assert not world.mirror.is_provisional(DB)
        assert world.mirror.expire_own_addresses(DB) == set()
        assert at(world) == {"back": (ADDRESS, None)}

    @pytest.mark.parametrize("started", [False, True])
    def test_an_answer_that_shows_the_same_changes_only_what_started_before_it(
        self, world: World, *, started: bool
    ) -> None:
        """At `start` relinkd tells no recipient that the source runs: it waits for this answer."""
        believe(world, ADDRESS)
        world.hear("connect", "db", "back")
        if started:
            world.hear("start", "db")
        answer = NetworkAnswer(
            BACK,
            world.mirror.next_revision(),
            world.networks["back"],
            {DB: Endpoint(ADDRESS, None)},
        )
        assert world.mirror.apply_answer(answer) == ({DB} if started else set())

    def test_the_answer_is_right(self, world: World) -> None:
        believe(world, ADDRESS)
        world.hear("connect", "db", "back")
        world.connect("db", "back", "10.1.0.6")
        assert at(world) == {"back": ("10.1.0.6", None)}
        assert believe(world, ADDRESS) == set()
        assert at(world) == {"back": ("10.1.0.6", None)}

    def test_an_answer_from_before_connect_does_not_show_it_yet(self, world: World) -> None:
        believe(world, ADDRESS)
        world.tell("back")
        assert at(world) == {"back": (ADDRESS, None)}
        world.hear("connect", "db", "back")
        world.tell("back")
        assert at(world) == {}

    def test_an_inspect_meanwhile_does_not_say_that_it_is_down(self, world: World) -> None:
        believe(world, ADDRESS)
        world.add(container("db", state="exited", networks=["back"]))
        assert world["db"].state == "starting"
        assert at(world) == {"back": (ADDRESS, None)}


class TestWithdrawing:
    @pytest.mark.parametrize("state", ["exited", "created"])
    def test_without_connect_it_is_as_before(self, world: World, state: str) -> None:
        world.add(container("db", state=state, networks=["back"]))
        believe(world, ADDRESS)
        assert world.mirror.expire_own_addresses(DB) == {DB}
        assert (at(world), world["db"].state) == ({}, state)
        assert not world.mirror.is_provisional(DB)
        assert world.mirror.expire_own_addresses(DB) == set()

    def test_only_the_network_that_connected_stays(self, world: World) -> None:
        world.add(container("db", state="exited", networks=["back", "front"]))
        believe(world, ADDRESS, "10.2.0.5")
        world.hear("connect", "db", "front")
        assert world.mirror.expire_own_addresses(DB) == {DB}
        assert at(world) == {"front": ("10.2.0.5", None)}
        assert world["db"].state == "starting"

    def test_what_the_file_does_not_show_any_more(self, world: World) -> None:
        believe(world, ADDRESS)
        assert believe(world) == {DB}
        assert (at(world), world["db"].state) == ({}, "exited")

    def test_not_for_another_that_its_own_program_may_have_written(self, world: World) -> None:
        # On a busy machine its `connect` comes later than its program's first instructions.
        believe(world, ADDRESS)
        assert believe(world, "10.1.0.6") == set()
        assert at(world) == {"back": (ADDRESS, None)}
        world.hear("connect", "db", "back")
        world.connect("db", "back", "10.1.0.6")
        assert at(world) == {"back": ("10.1.0.6", None)}

    def test_what_the_engine_gives_another(self, world: World) -> None:
        believe(world, ADDRESS)
        world.add(container("other"), back=ADDRESS)
        assert (at(world), at(world, "other")) == ({}, {"back": (ADDRESS, None)})
        assert world["db"].state == "exited"

    @pytest.mark.parametrize("action", ["die", "destroy", "disconnect"])
    def test_at_once_when_the_engine_says_so(self, world: World, action: str) -> None:
        believe(world, ADDRESS)
        world.hear(action, "db", "back" if action == "disconnect" else "")
        assert at(world) == {}
        assert not world.mirror.is_provisional(DB)
        if action != "destroy":
            assert world["db"].state == "exited"

    def test_with_the_connection(self, world: World) -> None:
        believe(world, ADDRESS)
        world.mirror.lose()
        assert at(world) == {}
        assert not world.mirror.is_provisional(DB)


class TestNotKnownYet:
    """After a lost connection nothing old is granted, and nothing true counts as gone."""

    @pytest.fixture
    def lost(self, world: World) -> World:
        world.add(container("other"), back="10.1.0.7", front="10.2.0.7")
        world.add(container("bare"))
        world.mirror.lose()
        return world

    def test_all_endpoints_are_dropped_and_no_container_is(self, lost: World) -> None:
        assert at(lost, "other") == {}
        assert lost.mirror.holders("10.1.0.7") == set()
        assert {"db", "other", "bare"} == {each.name for each in lost.mirror.containers.values()}
        assert lost.mirror.unanswered() == {BACK, FRONT}

    def test_a_place_is_known_once_all_its_networks_have_answered(self, lost: World) -> None:
        def known() -> list[str]:
            return [
                name for name in ("db", "other", "bare") if lost.mirror.places_known(lost[name])
            ]

        assert known() == []
        lost.tell("back")
        assert known() == ["db"]
        lost.tell("front")  # and who may be on any network once all have
        assert known() == ["db", "other", "bare"]

    def test_who_leaves_a_network_that_has_not_answered_is_known_not_to_be_there(
        self, lost: World
    ) -> None:
        """Else its line would stay until the answer, and another could have the address by then."""
        hint = Hint("disconnect", lost["db"].id, BACK)
        assert lost.mirror.apply_event(hint) == {lost["db"].id}
        assert lost.mirror.places_known(lost["db"])
        assert not lost.mirror.places_known(lost["other"])
        lost.hear("connect", "db", "back")
        assert not lost.mirror.places_known(lost["db"])

    def test_who_waited_counts_as_changed(self, lost: World) -> None:
        mirror = lost.mirror

        def answered(name: str) -> set[str]:
            one = lost.networks[name]
            found = mirror.apply_answer(NetworkAnswer(one.id, mirror.next_revision(), one))
            return {mirror.containers[id_].name for id_ in found}

        assert {"db", "other"} <= answered("back")
        assert {"other", "bare"} <= answered("front")

    def test_a_network_that_was_only_listed_may_hold_anyone_configured_elsewhere(
        self, world: World
    ) -> None:
        mirror = world.mirror
        late = container("late", networks=["new"])
        world.add(late)
        assert mirror.places_known(world["late"])
        listed = frozenset({BACK, FRONT, id_of("new")})
        mirror.apply_answer(NetworkListAnswer(mirror.next_revision(), listed))
        assert not mirror.places_known(world["late"])
        assert mirror.places_known(world["db"])
        new = net("new", "10.3.0.0/24")
        on = {late.id: Endpoint("10.3.0.2", None)}
        mirror.apply_answer(NetworkAnswer(new.id, mirror.next_revision(), new, on))
        assert mirror.places_known(world["late"])

    def test_a_network_that_is_gone_is_not_waited_for(self, lost: World) -> None:
        mirror = lost.mirror
        mirror.apply_answer(NetworkListAnswer(mirror.next_revision(), frozenset({BACK})))
        lost.tell("back")
        assert mirror.unanswered() == set()
        assert mirror.places_known(lost["bare"])

    def test_an_inspect_from_before_is_out_of_date(self, lost: World) -> None:
        mirror, other = lost.mirror, lost["other"]
        assert not mirror.is_inspected(other)
        answer = ContainerAnswer(other.id, mirror.next_revision(), other)
        assert mirror.apply_answer(answer) == {other.id}  # equal, but known only now
        assert mirror.is_inspected(other)
        assert not mirror.is_inspected(container("never", inspected=False))

    def test_no_file_is_believed_before_its_network_has_answered(self, lost: World) -> None:
        assert believe(lost, ADDRESS) == set()
        lost.tell("back")
        assert believe(lost, ADDRESS) == {DB}

    def test_nor_one_that_may_be_on_any_network_before_all_have(self, world: World) -> None:
        world.remove("db")
        world.add(container("db", state="created", inspected=False))
        world.mirror.lose()
        world.tell("back")
        assert believe(world, ADDRESS) == set()
        world.tell("front")
        assert believe(world, ADDRESS) == {DB}
