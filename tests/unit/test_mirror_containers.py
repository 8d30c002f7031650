"""What the mirror knows of containers as they come, are renamed, and go."""

import random
from dataclasses import replace

import pytest

from tests.builders import compose, container, endpoint, id_of, network
from tests.unit.mirror_parts import DB, WEB, Asked
from watchers.mirror import Mirror
from watchers.model import ContainerAnswer, Hint, ListedAnswer, NetworkAnswer, NetworkListAnswer


@pytest.fixture
def asked() -> Asked:
    return Asked(DB, WEB)


class TestComingAndGoing:
    def test_create_brings_name_and_labels(self) -> None:
        asked = Asked()
        labels = compose("shop", "db")
        hint = Hint("create", DB.id, time_ns=5, name="db", labels=labels)
        assert asked.mirror.apply_event(hint) == {DB.id}
        assert (asked.db.name, asked.db.labels, asked.db.created) == ("db", labels, 5)
        assert asked.mirror.named("db") is asked.db
        assert asked.mirror.replicas("shop", "db") == {DB.id}
        assert not asked.db.running

    def test_an_older_list_does_not_take_out_what_was_created_since(self) -> None:
        asked = Asked()
        before = asked.mirror.next_revision()
        asked.hear("create", name="db")
        asked.list(revision=before)
        assert asked.mirror.named("db")

    def test_a_list_takes_out_what_it_lacks(self, asked: Asked) -> None:
        assert asked.list(WEB) == {DB.id}
        assert asked.mirror.named("db") is None
        assert asked.address() is None

    def test_destroyed_never_comes_back_by_a_late_answer(self, asked: Asked) -> None:
        before = asked.mirror.next_revision()
        asked.hear("destroy")
        asked.inspect(DB, before)
        asked.list(DB, WEB, revision=before)
        asked.network("db web", before)
        assert asked.mirror.named("db") is None
        assert DB.id not in asked.mirror.containers
        assert asked.address() is None

    def test_nor_does_one_that_a_list_or_an_inspect_missed(self, asked: Asked) -> None:
        before = asked.mirror.next_revision()
        asked.list(WEB)
        asked.inspect(DB, before)
        assert DB.id not in asked.mirror.containers
        before = asked.mirror.next_revision()
        asked.gone(WEB)
        asked.inspect(WEB, before)
        assert WEB.id not in asked.mirror.containers

    def test_not_found_is_gone_unless_it_was_asked_too_early(self, asked: Asked) -> None:
        assert asked.gone(DB) == {DB.id}
        assert asked.address() is None
        asked = Asked()
        before = asked.mirror.next_revision()
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
        asked.mirror.apply_event(Hint("create", new.id, name="db"))
        assert asked.mirror.named("db") == asked.mirror.containers[new.id]
        asked.hear("die")
        asked.hear("destroy")
        assert asked.mirror.named("db") == asked.mirror.containers[new.id]

    def test_a_name_that_moved_on_is_not_lost_with_its_old_holder(self, asked: Asked) -> None:
        # The old holder's rename is lost or late; another event of it comes between.
        new = container("db", id_=id_of("new"))
        asked.mirror.apply_event(Hint("create", new.id, name="db"))
        asked.hear("pause")
        asked.list(replace(DB, name="old", state="paused"), WEB, new)
        found = asked.mirror.named("db")
        assert found is not None
        assert found.id == new.id
        assert asked.mirror.named("old") is asked.db

    def test_a_name_is_not_lost_when_its_old_holder_goes_later(self, asked: Asked) -> None:
        new = container("db", id_=id_of("new"))
        asked.mirror.apply_event(Hint("create", new.id, name="db"))
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
        before = asked.mirror.next_revision()
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
                mirror.apply_event(Hint("create", who, name=f"c{number}", labels=labels))
                mirror.apply_event(Hint("connect", who, where))
                members = {who: endpoint("10.0.0.2")}
                mirror.apply_answer(NetworkAnswer(where, mirror.next_revision(), one, members))
                asked.inspect(container(f"c{number}", id_=who, labels=labels))
                for action in ("die", "disconnect", "destroy"):
                    mirror.apply_event(Hint(action, who, where if action == "disconnect" else ""))
                mirror.apply_event(Hint("destroy", "", where))
                # 26 says some of it twice, and not always in order.
                mirror.apply_event(Hint("disconnect", who, where))
            for _ in range(2):
                asked.list()
                mirror.apply_answer(NetworkListAnswer(mirror.next_revision(), frozenset()))
            sizes.append(self.size(mirror))
        assert len(set(sizes[1:])) == 1


class TestListed:
    """Networks that a container is configured for, from a list of one: no start delays that."""

    def answer(self, asked: Asked, revision: int | None = None) -> set[str]:
        listed = replace(asked.mirror.containers[DB.id], networks=("back", "front"))
        number = asked.mirror.next_revision() if revision is None else revision
        return asked.mirror.apply_answer(ListedAnswer(DB.id, number, listed))

    def test_new_networks_are_a_change(self, asked: Asked) -> None:
        assert self.answer(asked) == {DB.id}
        assert asked.mirror.containers[DB.id].networks == ("back", "front")
        assert self.answer(asked) == set()

    def test_an_older_one_than_the_last_inspect_counts_for_nothing(self, asked: Asked) -> None:
        before = asked.mirror.next_revision()
        known = asked.mirror.containers[DB.id]
        asked.mirror.apply_answer(ContainerAnswer(DB.id, asked.mirror.next_revision(), known))
        assert self.answer(asked, before) == set()
        assert asked.mirror.containers[DB.id].networks == known.networks

    def test_one_that_is_not_there_changes_nothing(self, asked: Asked) -> None:
        number = asked.mirror.next_revision()
        assert asked.mirror.apply_answer(ListedAnswer(DB.id, number, None)) == set()
