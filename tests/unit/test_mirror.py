"""Events withdraw, answers grant, and an answer counts as of when it was asked."""

import random
from dataclasses import replace

import pytest

from tests.builders import compose, container, endpoint, id_of, listed, network
from watchers.mirror import Mirror
from watchers.model import (
    Container,
    ContainerAnswer,
    Hint,
    ListAnswer,
    NetworkAnswer,
    NetworkListAnswer,
)

DB, WEB = container("db", networks=["back"]), container("web", networks=["back"])
BACK, FRONT = network("back"), network("front")


class Asked:
    """A mirror, and questions whose answers come when the test says so."""

    def __init__(self, *known: Container) -> None:
        self.mirror = Mirror()
        for each in known:
            self.inspect(each)
        self.network("db web" if known else "")

    def hear(self, action: str, who: Container = DB, where: str = "", name: str = "") -> set[str]:
        network_id = id_of(where) if where else ""
        return self.mirror.withdraw(Hint(action, who.id, network_id, 7, name))

    def network(self, names: str, asked: int | None = None, address: str = "10.0.0.") -> set[str]:
        """Have `back` answer with containers by name, numbered from 2."""
        members = {
            id_of(name): endpoint(f"{address}{number}")
            for number, name in enumerate(names.split(), 2)
        }
        number = self.mirror.ask() if asked is None else asked
        return self.mirror.learn(NetworkAnswer(BACK.id, number, BACK, members))

    def inspect(self, whole: Container, asked: int | None = None) -> set[str]:
        number = self.mirror.ask() if asked is None else asked
        return self.mirror.learn(ContainerAnswer(whole.id, number, whole))

    def gone(self, whole: Container, asked: int | None = None) -> set[str]:
        number = self.mirror.ask() if asked is None else asked
        return self.mirror.learn(ContainerAnswer(whole.id, number, None))

    def list(self, *there: Container, asked: int | None = None) -> set[str]:
        number = self.mirror.ask() if asked is None else asked
        return self.mirror.learn(ListAnswer(number, tuple(listed(each) for each in there)))

    def address(self) -> str | None:
        """Where `db` is on `back`."""
        found = self.mirror.endpoints(DB.id).get(BACK.id)
        other = self.mirror.members(BACK.id).get(DB.id)
        assert found == other
        return found.ipv4 if found else None

    @property
    def db(self) -> Container:
        return self.mirror.containers[DB.id]


@pytest.fixture
def asked() -> Asked:
    return Asked(DB, WEB)


class TestEventsWithdraw:
    @pytest.mark.parametrize(
        ("action", "where"), [("disconnect", "back"), ("die", ""), ("destroy", "")]
    )
    def test_the_address_is_gone_at_once(self, asked: Asked, action: str, where: str) -> None:
        assert asked.address() == "10.0.0.2"
        assert asked.hear(action, where=where) == {DB.id}
        assert asked.address() is None
        assert asked.mirror.endpoints(WEB.id)

    @pytest.mark.parametrize(
        ("action", "where"),
        [
            ("connect", "back"),
            ("create", ""),
            ("start", ""),
            ("pause", ""),
            ("unpause", ""),
            ("rename", ""),
            ("health_status: healthy", ""),
            ("resize", ""),
        ],
    )
    def test_no_other_event_takes_or_gives_one(self, asked: Asked, action: str, where: str) -> None:
        asked.hear(action, where=where, name="db")
        assert asked.address() == "10.0.0.2"
        asked.hear("die")
        asked.hear(action, where=where, name="db")
        assert asked.address() is None

    def test_a_disconnect_takes_one_of_two(self, asked: Asked) -> None:
        mirror = asked.mirror
        members = {DB.id: endpoint("10.1.0.2")}
        mirror.learn(NetworkAnswer(FRONT.id, mirror.ask(), FRONT, members))
        asked.hear("disconnect", where="front")
        assert asked.address() == "10.0.0.2"
        assert list(mirror.endpoints(DB.id)) == [BACK.id]

    def test_a_destroyed_network_takes_all_on_it(self, asked: Asked) -> None:
        assert asked.mirror.withdraw(Hint("destroy", network=BACK.id)) == {DB.id, WEB.id}
        assert asked.address() is None
        assert BACK.id not in asked.mirror.networks

    def test_of_strangers_change_nothing(self, asked: Asked) -> None:
        other = container("nobody")
        for action in ("die", "destroy", "connect", "disconnect", "start", "rename", "pause"):
            assert asked.hear(action, other, "back" if "connect" in action else "") == set()


class TestAsOfWhenItWasAsked:
    @pytest.mark.parametrize(
        ("action", "where"), [("disconnect", "back"), ("die", ""), ("destroy", "")]
    )
    def test_asked_before_a_withdrawal_never_grants(
        self, asked: Asked, action: str, where: str
    ) -> None:
        before = asked.mirror.ask()
        asked.hear(action, where=where)
        assert asked.network("db web", before) == set()
        assert asked.address() is None

    def test_asked_after_a_withdrawal_grants(self, asked: Asked) -> None:
        asked.hear("disconnect", where="back")
        asked.hear("die")
        assert asked.network("web db") == {DB.id, WEB.id}
        assert asked.address() == "10.0.0.3"

    @pytest.mark.parametrize(
        "withdrawals", [["disconnect"], ["die"], ["die", "disconnect"], ["disconnect", "die"]]
    )
    @pytest.mark.parametrize("after", ["connect", "start"])
    def test_a_new_start_revives_no_old_answer(
        self, asked: Asked, withdrawals: list[str], after: str
    ) -> None:
        before = asked.mirror.ask()
        for action in withdrawals:
            asked.hear(action, where="back" if action == "disconnect" else "")
        asked.hear(after, where="back" if after == "connect" else "")
        asked.network("db web", before)
        assert asked.address() is None
        asked.network("db web")
        assert asked.address() == "10.0.0.2"

    def test_a_withdrawal_outlives_an_answer_asked_before_it(self, asked: Asked) -> None:
        first, second = asked.mirror.ask(), asked.mirror.ask()
        asked.hear("disconnect", where="back")
        asked.network("db web", first)
        asked.network("db web", second)
        assert asked.address() is None

    def test_others_on_the_network_are_granted_all_the_same(self, asked: Asked) -> None:
        before = asked.mirror.ask()
        asked.hear("disconnect", where="back")
        asked.network("db web new", before)
        assert set(asked.mirror.members(BACK.id)) == {WEB.id, id_of("new")}

    def test_an_older_network_answer_never_overwrites_a_newer(self, asked: Asked) -> None:
        first, second = asked.mirror.ask(), asked.mirror.ask()
        asked.network("db", second, "10.0.9.")
        assert asked.network("db web", first) == set()
        assert asked.address() == "10.0.9.2"
        assert not asked.mirror.endpoints(WEB.id)

    def test_an_older_inspect_never_overwrites_a_newer(self, asked: Asked) -> None:
        first, second = asked.mirror.ask(), asked.mirror.ask()
        asked.inspect(replace(DB, state="paused"), second)
        assert asked.inspect(replace(DB, state="exited"), first) == set()
        assert asked.db.state == "paused"

    def test_an_older_list_never_overwrites_a_newer_inspect(self, asked: Asked) -> None:
        before = asked.mirror.ask()
        asked.inspect(replace(DB, state="paused"))
        asked.list(replace(DB, state="exited"), WEB, asked=before)
        assert asked.db.state == "paused"

    def test_an_older_list_never_overwrites_a_newer(self, asked: Asked) -> None:
        before = asked.mirror.ask()
        asked.list(replace(DB, state="paused"), WEB)
        older = replace(DB, state="exited", networks=("old",))
        assert asked.list(older, asked=before) == set()
        assert (asked.db.state, asked.db.networks) == ("paused", ("back",))
        assert asked.mirror.named("web")

    def test_an_older_list_never_takes_out_who_was_inspected_since(self, asked: Asked) -> None:
        before = asked.mirror.ask()
        asked.inspect(container("new"))
        asked.list(DB, WEB, asked=before)
        assert asked.mirror.named("new")

    def test_an_older_list_of_networks_never_takes_out_a_newer_network(self, asked: Asked) -> None:
        before = asked.mirror.ask()
        asked.network("db web")
        assert asked.mirror.learn(NetworkListAnswer(before, frozenset())) == set()
        assert asked.address() == "10.0.0.2"

    def test_a_network_that_went_unheard_and_unseen_never_comes_by_a_late_answer(self) -> None:
        """Made and removed while the stream was cut: only the list knows, and not us."""
        asked = Asked()
        before = asked.mirror.ask()
        asked.mirror.learn(NetworkListAnswer(asked.mirror.ask(), frozenset()))
        asked.mirror.learn(NetworkAnswer(FRONT.id, before, FRONT, {}))
        assert FRONT.id not in asked.mirror.networks
        asked.mirror.learn(NetworkAnswer(FRONT.id, asked.mirror.ask(), FRONT, {}))
        assert FRONT.id in asked.mirror.networks

    def test_who_is_configured_for_a_network_that_goes_has_changed(self) -> None:
        """Stopped ones as well: the engine never starts them again."""
        asked = Asked(replace(DB, state="exited"))
        asked.network("")
        changed = asked.mirror.withdraw(Hint("destroy", network=BACK.id))
        assert changed == {DB.id}

    def test_a_destroyed_network_never_comes_back_by_a_late_answer(self, asked: Asked) -> None:
        before = asked.mirror.ask()
        asked.hear("disconnect", where="back")
        asked.mirror.withdraw(Hint("destroy", network=BACK.id))
        asked.network("db web", before)
        assert BACK.id not in asked.mirror.networks
        assert asked.address() is None

    def test_a_network_not_found_is_gone(self, asked: Asked) -> None:
        answer = NetworkAnswer(BACK.id, asked.mirror.ask(), None)
        assert asked.mirror.learn(answer) == {DB.id, WEB.id}
        assert BACK.id not in asked.mirror.networks

    def test_an_inspect_asked_before_an_event_keeps_what_the_event_said(self, asked: Asked) -> None:
        before = asked.mirror.ask()
        asked.hear("die")
        asked.inspect(replace(DB, state="running", labels={"a": "b"}), before)
        assert asked.db.state == "exited"
        assert asked.db.labels == {"a": "b"}

    def test_a_list_asked_before_an_event_keeps_what_the_event_said(self, asked: Asked) -> None:
        before = asked.mirror.ask()
        asked.hear("pause")
        asked.hear("rename", name="new")
        asked.list(DB, WEB, asked=before)
        assert (asked.db.state, asked.db.name) == ("paused", "new")


class TestStarting:
    def stopped(self, known: str = "exited") -> Asked:
        return Asked(replace(DB, state=known), WEB)

    @pytest.mark.parametrize("said", ["exited", "created"])
    def test_a_list_says_so_between_connect_and_start(self, said: str) -> None:
        asked = self.stopped(said)
        asked.hear("connect", where="back")
        asked.network("db web")
        asked.list(replace(DB, state=said), WEB)
        assert (asked.db.running, asked.address()) == (True, "10.0.0.2")

    def test_even_before_the_network_answered(self) -> None:
        asked = self.stopped()
        asked.network("web")
        asked.hear("connect", where="back")
        asked.list(replace(DB, state="exited"), WEB)
        asked.network("db web")
        assert (asked.db.running, asked.address()) == (True, "10.0.0.2")

    def test_an_inspect_ends_it_where_no_start_ever_comes(self) -> None:
        asked = self.stopped()
        asked.hear("connect", where="back")
        asked.inspect(replace(DB, state="exited"))
        assert not asked.db.running

    def test_a_disconnect_alone_ends_the_address_of_a_failed_start(self) -> None:
        asked = self.stopped()
        asked.hear("connect", where="back")
        asked.network("db web")
        asked.hear("disconnect", where="back")
        assert asked.address() is None

    def test_a_list_is_believed_again_after_the_start(self) -> None:
        asked = self.stopped()
        asked.hear("connect", where="back")
        asked.network("db web")
        asked.hear("start")
        asked.list(replace(DB, state="exited"), WEB)
        assert not asked.db.running

    def test_a_connect_of_a_running_one_is_no_start(self, asked: Asked) -> None:
        asked.hear("connect", where="back")
        assert asked.db.state == "running"
        assert asked.db.started == DB.started

    def test_when_it_came_up_is_when_it_was_connected_or_started(self) -> None:
        asked = self.stopped()
        asked.hear("connect", where="back")
        assert asked.db.started == 7
        asked.mirror.withdraw(Hint("start", DB.id, time_ns=9))
        assert asked.db.started == 7
        asked.hear("die")
        asked.mirror.withdraw(Hint("start", DB.id, time_ns=11))
        assert asked.db.started == 11


class TestComingAndGoing:
    def test_create_brings_name_and_labels(self) -> None:
        asked = Asked()
        labels = compose("shop", "db")
        hint = Hint("create", DB.id, time_ns=5, name="db", labels=labels)
        assert asked.mirror.withdraw(hint) == {DB.id}
        assert (asked.db.name, asked.db.labels, asked.db.created) == ("db", labels, 5)
        assert asked.mirror.named("db") is asked.db
        assert asked.mirror.replicas("shop", "db") == {DB.id}
        assert not asked.db.running

    def test_an_older_list_does_not_take_out_what_was_created_since(self) -> None:
        asked = Asked()
        before = asked.mirror.ask()
        asked.hear("create", name="db")
        asked.list(asked=before)
        assert asked.mirror.named("db")

    def test_a_list_takes_out_what_it_lacks(self, asked: Asked) -> None:
        assert asked.list(WEB) == {DB.id}
        assert asked.mirror.named("db") is None
        assert asked.address() is None

    def test_destroyed_never_comes_back_by_a_late_answer(self, asked: Asked) -> None:
        before = asked.mirror.ask()
        asked.hear("destroy")
        asked.inspect(DB, before)
        asked.list(DB, WEB, asked=before)
        asked.network("db web", before)
        assert asked.mirror.named("db") is None
        assert DB.id not in asked.mirror.containers
        assert asked.address() is None

    def test_nor_does_one_that_a_list_or_an_inspect_missed(self, asked: Asked) -> None:
        before = asked.mirror.ask()
        asked.list(WEB)
        asked.inspect(DB, before)
        assert DB.id not in asked.mirror.containers
        before = asked.mirror.ask()
        asked.gone(WEB)
        asked.inspect(WEB, before)
        assert WEB.id not in asked.mirror.containers

    def test_not_found_is_gone_unless_it_was_asked_too_early(self, asked: Asked) -> None:
        assert asked.gone(DB) == {DB.id}
        assert asked.address() is None
        asked = Asked()
        before = asked.mirror.ask()
        asked.hear("create", name="db")
        assert asked.gone(DB, before) == set()
        assert asked.mirror.named("db")


class TestNames:
    def test_rename(self, asked: Asked) -> None:
        assert asked.hear("rename", name="db2") == {DB.id}
        assert asked.mirror.named("db") is None
        assert asked.mirror.named("db2") is asked.db

    def test_recreated_under_one_name(self, asked: Asked) -> None:
        new = container("db", id_=id_of("new"))
        asked.hear("rename", name="old_db")
        asked.mirror.withdraw(Hint("create", new.id, name="db"))
        assert asked.mirror.named("db") == asked.mirror.containers[new.id]
        asked.hear("die")
        asked.hear("destroy")
        assert asked.mirror.named("db") == asked.mirror.containers[new.id]

    def test_a_name_that_moved_on_is_not_lost_with_its_old_holder(self, asked: Asked) -> None:
        # The old holder's rename is lost or late; another event of it comes between.
        new = container("db", id_=id_of("new"))
        asked.mirror.withdraw(Hint("create", new.id, name="db"))
        asked.hear("pause")
        asked.list(replace(DB, name="old", state="paused"), WEB, new)
        found = asked.mirror.named("db")
        assert found is not None
        assert found.id == new.id
        assert asked.mirror.named("old") is asked.db

    def test_a_name_is_not_lost_when_its_old_holder_goes_later(self, asked: Asked) -> None:
        new = container("db", id_=id_of("new"))
        asked.mirror.withdraw(Hint("create", new.id, name="db"))
        asked.hear("die")
        asked.hear("destroy")
        found = asked.mirror.named("db")
        assert found is not None
        assert found.id == new.id

    def test_exchanged(self, asked: Asked) -> None:
        asked.list(replace(DB, name="web"), replace(WEB, name="db"))
        named = {name: asked.mirror.named(name) for name in ("db", "web")}
        assert {name: found.id for name, found in named.items() if found} == {
            "db": WEB.id,
            "web": DB.id,
        }

    def test_one_off_runs_are_no_replicas(self) -> None:
        asked = Asked()
        run = container("run", labels=compose("shop", "db", oneoff=True))
        one = container("one", labels=compose("shop", "db"))
        asked.inspect(run)
        asked.inspect(one)
        assert asked.mirror.replicas("shop", "db") == {one.id}

    def test_lookup_by_id_prefix_and_name(self, asked: Asked) -> None:
        for reference in (DB.id, DB.id[:12], "db"):
            assert asked.mirror.lookup(reference) is asked.db
        assert asked.mirror.lookup("nobody") is None

    def test_the_engines_links_say_whom_a_rename_concerns(self) -> None:
        asked = Asked()
        asked.inspect(container("app", engine_links=["db:d"]))
        assert asked.mirror.linking("db") == {id_of("app")}
        assert asked.mirror.linking("d") == set()

    def test_who_answers_to_a_name(self, asked: Asked) -> None:
        asked.inspect(container("x", labels=compose("shop", "Api"), dns={"back": ["A", "b"]}))
        for name in ("x", "API", "a", "B"):
            assert asked.mirror.answering(name) == {id_of("x")}
        asked.hear("destroy", container("x"))
        assert asked.mirror.answering("a") == set()


class TestHealth:
    def sick(self) -> Asked:
        return Asked(container("db", health="starting", networks=["back"]))

    def test_follows_its_events(self) -> None:
        asked = self.sick()
        assert asked.hear("health_status: healthy") == {DB.id}
        assert asked.db.detail is not None
        assert asked.db.detail.health == "healthy"
        assert asked.hear("health_status: healthy") == set()

    def test_is_not_overwritten_by_an_older_inspect(self) -> None:
        asked = self.sick()
        before = asked.mirror.ask()
        asked.hear("health_status: healthy")
        asked.inspect(container("db", health="starting"), before)
        assert asked.db.detail is not None
        assert asked.db.detail.health == "healthy"

    def test_starts_anew_with_the_container(self) -> None:
        asked = self.sick()
        asked.hear("health_status: healthy")
        asked.hear("die")
        asked.hear("connect", where="back")
        asked.hear("start")
        assert asked.db.detail is not None
        assert asked.db.detail.health != "healthy"


class TestMemory:
    """It follows containers, not events."""

    ACTIONS = (
        "connect",
        "disconnect",
        "die",
        "start",
        "pause",
        "unpause",
        "rename",
        "create",
        "health_status: healthy",
        "destroy",
    )

    def size(self, mirror: Mirror) -> int:
        """How many things it holds, in all its tables."""

        def count(value: object) -> int:
            if isinstance(value, dict):
                return sum(1 + count(inner) for inner in value.values())
            return len(value) if isinstance(value, set | list | tuple | frozenset) else 0

        return sum(count(value) for value in vars(mirror).values())

    def test_100_000_events_of_the_same_containers(self) -> None:
        chance = random.Random(5)
        asked = Asked()
        whole = [container(f"c{n}", health="starting", networks=["back"]) for n in range(20)]
        sizes = []
        for turn in range(10):
            for _ in range(10_000):
                action = chance.choice(self.ACTIONS)
                where = "back" if "connect" in action else ""
                one = chance.choice(whole)
                asked.hear(action, one, where, name=one.name)
            for each in whole:
                asked.inspect(each)
            asked.network(" ".join(each.name for each in whole))
            asked.list(*whole)
            asked.list(*whole)
            if turn:
                sizes.append(self.size(asked.mirror))
        assert len(set(sizes)) == 1

    def test_containers_and_networks_that_come_and_go(self) -> None:
        asked = Asked()
        mirror = asked.mirror
        sizes = []
        for turn in range(6):
            for number in range(500):
                who, where = id_of(f"c{turn}-{number}"), id_of(f"n{turn}-{number}")
                labels = compose(f"p{number}", "db")
                one = network(f"n{turn}-{number}")
                mirror.withdraw(Hint("create", who, name=f"c{number}", labels=labels))
                mirror.withdraw(Hint("connect", who, where))
                members = {who: endpoint("10.0.0.2")}
                mirror.learn(NetworkAnswer(where, mirror.ask(), one, members))
                asked.inspect(container(f"c{number}", id_=who, labels=labels))
                for action in ("die", "disconnect", "destroy"):
                    mirror.withdraw(Hint(action, who, where if action == "disconnect" else ""))
                mirror.withdraw(Hint("destroy", "", where))
                # 26 says some of it twice, and not always in order.
                mirror.withdraw(Hint("disconnect", who, where))
            for _ in range(2):
                asked.list()
                mirror.learn(NetworkListAnswer(mirror.ask(), frozenset()))
            sizes.append(self.size(mirror))
        assert len(set(sizes[1:])) == 1
