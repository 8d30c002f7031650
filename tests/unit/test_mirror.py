"""Events withdraw, answers grant, and an answer counts as of when it was asked."""

from dataclasses import replace

import pytest

from tests.builders import container, endpoint, id_of
from tests.unit.mirror_parts import BACK, DB, FRONT, WEB, Asked
from watchers.model import Hint, NetworkAnswer, NetworkListAnswer


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
        mirror.apply_answer(NetworkAnswer(FRONT.id, mirror.next_revision(), FRONT, members))
        asked.hear("disconnect", where="front")
        assert asked.address() == "10.0.0.2"
        assert list(mirror.endpoints(DB.id)) == [BACK.id]

    def test_a_destroyed_network_takes_all_on_it(self, asked: Asked) -> None:
        assert asked.mirror.apply_event(Hint("destroy", network=BACK.id)) == {DB.id, WEB.id}
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
        before = asked.mirror.next_revision()
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
        before = asked.mirror.next_revision()
        for action in withdrawals:
            asked.hear(action, where="back" if action == "disconnect" else "")
        asked.hear(after, where="back" if after == "connect" else "")
        asked.network("db web", before)
        assert asked.address() is None
        asked.network("db web")
        assert asked.address() == "10.0.0.2"

    def test_a_withdrawal_outlives_an_answer_asked_before_it(self, asked: Asked) -> None:
        first, second = asked.mirror.next_revision(), asked.mirror.next_revision()
        asked.hear("disconnect", where="back")
        asked.network("db web", first)
        asked.network("db web", second)
        assert asked.address() is None

    def test_others_on_the_network_are_granted_all_the_same(self, asked: Asked) -> None:
        before = asked.mirror.next_revision()
        asked.hear("disconnect", where="back")
        asked.network("db web new", before)
        assert set(asked.mirror.members(BACK.id)) == {WEB.id, id_of("new")}

    def test_an_older_network_answer_never_overwrites_a_newer(self, asked: Asked) -> None:
        first, second = asked.mirror.next_revision(), asked.mirror.next_revision()
        asked.network("db", second, "10.0.9.")
        assert asked.network("db web", first) == set()
        assert asked.address() == "10.0.9.2"
        assert not asked.mirror.endpoints(WEB.id)

    def test_an_older_inspect_never_overwrites_a_newer(self, asked: Asked) -> None:
        first, second = asked.mirror.next_revision(), asked.mirror.next_revision()
        asked.inspect(replace(DB, state="paused"), second)
        assert asked.inspect(replace(DB, state="exited"), first) == set()
        assert asked.db.state == "paused"

    def test_an_older_list_never_overwrites_a_newer_inspect(self, asked: Asked) -> None:
        before = asked.mirror.next_revision()
        asked.inspect(replace(DB, state="paused"))
        asked.list(replace(DB, state="exited"), WEB, revision=before)
        assert asked.db.state == "paused"

    def test_an_older_list_never_overwrites_a_newer(self, asked: Asked) -> None:
        before = asked.mirror.next_revision()
        asked.list(replace(DB, state="paused"), WEB)
        older = replace(DB, state="exited", networks=("old",))
        assert asked.list(older, revision=before) == set()
        assert (asked.db.state, asked.db.networks) == ("paused", ("back",))
        assert asked.mirror.named("web")

    def test_an_older_list_never_takes_out_who_was_inspected_since(self, asked: Asked) -> None:
        before = asked.mirror.next_revision()
        asked.inspect(container("new"))
        asked.list(DB, WEB, revision=before)
        assert asked.mirror.named("new")

    def test_an_older_list_of_networks_never_takes_out_a_newer_network(self, asked: Asked) -> None:
        before = asked.mirror.next_revision()
        asked.network("db web")
        assert asked.mirror.apply_answer(NetworkListAnswer(before, frozenset())) == set()
        assert asked.address() == "10.0.0.2"

    def test_a_network_that_went_unheard_and_unseen_never_comes_by_a_late_answer(self) -> None:
        """Made and removed while the stream was cut: only the list knows, and not us."""
        asked = Asked()
        before = asked.mirror.next_revision()
        asked.mirror.apply_answer(NetworkListAnswer(asked.mirror.next_revision(), frozenset()))
        asked.mirror.apply_answer(NetworkAnswer(FRONT.id, before, FRONT, {}))
        assert FRONT.id not in asked.mirror.networks
        asked.mirror.apply_answer(NetworkAnswer(FRONT.id, asked.mirror.next_revision(), FRONT, {}))
        assert FRONT.id in asked.mirror.networks

    def test_a_late_list_never_makes_a_destroyed_network_one_that_has_not_answered(
        self, asked: Asked
    ) -> None:
        before = asked.mirror.next_revision()
        asked.mirror.apply_event(Hint("destroy", network=BACK.id))
        assert asked.mirror.places_known(DB)
        asked.mirror.apply_answer(NetworkListAnswer(before, frozenset({BACK.id, FRONT.id})))
        asked.mirror.apply_answer(NetworkAnswer(FRONT.id, asked.mirror.next_revision(), FRONT, {}))
        assert asked.mirror.places_known(DB)

    def test_who_is_configured_for_a_network_that_goes_has_changed(self) -> None:
        """Stopped ones as well: the engine never starts them again."""
        asked = Asked(replace(DB, state="exited"))
        asked.network("")
        changed = asked.mirror.apply_event(Hint("destroy", network=BACK.id))
        assert changed == {DB.id}

    def test_a_destroyed_network_never_comes_back_by_a_late_answer(self, asked: Asked) -> None:
        before = asked.mirror.next_revision()
        asked.hear("disconnect", where="back")
        asked.mirror.apply_event(Hint("destroy", network=BACK.id))
        asked.network("db web", before)
        assert BACK.id not in asked.mirror.networks
        assert asked.address() is None

    def test_a_network_not_found_is_gone(self, asked: Asked) -> None:
        answer = NetworkAnswer(BACK.id, asked.mirror.next_revision(), None)
        assert asked.mirror.apply_answer(answer) == {DB.id, WEB.id}
        assert BACK.id not in asked.mirror.networks

    def test_an_inspect_asked_before_an_event_keeps_what_the_event_said(self, asked: Asked) -> None:
        before = asked.mirror.next_revision()
        asked.hear("die")
        asked.inspect(replace(DB, state="running", labels={"a": "b"}), before)
        assert asked.db.state == "exited"
        assert asked.db.labels == {"a": "b"}

    def test_a_list_asked_before_an_event_keeps_what_the_event_said(self, asked: Asked) -> None:
        before = asked.mirror.next_revision()
        asked.hear("pause")
        asked.hear("rename", name="new")
        asked.list(DB, WEB, revision=before)
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
        asked.mirror.apply_event(Hint("start", DB.id, time_ns=9))
        assert asked.db.started == 7
        asked.hear("die")
        asked.mirror.apply_event(Hint("start", DB.id, time_ns=11))
        assert asked.db.started == 11


class TestOwnAddresses:
    """Of a container that died, as its own hosts file shows them (see `watchers.sourcefiles`)."""

    def test_they_count_once_it_has_left_its_last_network(self) -> None:
        asked = Asked(DB)
        own = ["10.0.0.2"]
        asked.hear("die")
        # Engine 20 rewrites the file before it tells of the `disconnect`.
        assert asked.mirror.is_leaving(DB.id)
        assert asked.mirror.apply_own_addresses(DB.id, own) == set()
        assert asked.hear("disconnect", where="back") == {DB.id}
        assert not asked.mirror.is_leaving(DB.id)
        assert asked.mirror.apply_own_addresses(DB.id, own) == {DB.id}
        assert asked.address() == "10.0.0.2"

    def test_they_count_at_once_where_it_left_before_it_died(self) -> None:
        asked = Asked(DB)
        asked.hear("disconnect", where="back")
        asked.hear("die")
        assert asked.mirror.apply_own_addresses(DB.id, ["10.0.0.9"]) == {DB.id}
        assert asked.address() == "10.0.0.9"
