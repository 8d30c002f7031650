"""The variables' file kept as it should be, through whatever happens to it."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from structlog.testing import capture_logs

from reconciler.contract import Done
from reconciler.engine_api import Ran
from reconciler.features.env_file.content import END, wish
from reconciler.features.env_file.reconciler import LEFT_ALONE
from reconciler.links.desired import links_of
from tests.builders import container
from tests.unit.env_file_parts import FILE, Lab
from watchers.errors import EngineFailedError, EngineGoneError, NotFoundError
from watchers.model import Hint, NetworkListAnswer, Offer

GET, PUT, PUT_NEW = f"get {FILE}", f"put {FILE}", f"put {FILE}.new"
MOVE = f"mv -f {FILE}.new {FILE}"
RENEWED = [PUT_NEW, MOVE]


@pytest.fixture
def lab() -> Lab:
    return Lab()


def lines(addresses: Iterable[str]) -> str:
    """The file for `db` at the last of these."""
    address = [*addresses][-1]
    return (
        f"DB_NAME='/web/db'\nDB_PORT='tcp://{address}:5432'\n"
        f"DB_PORT_5432_TCP='tcp://{address}:5432'\nDB_PORT_5432_TCP_PROTO='tcp'\n"
        f"DB_PORT_5432_TCP_PORT='5432'\nDB_PORT_5432_TCP_ADDR='{address}'\n{END}\n"
    )


class TestKeeping:
    async def test_at_create_it_is_put_without_a_look(self, lab: Lab) -> None:
        lab.resync()  # the first look is complete
        lab.add("created", inspected=False)
        lab.keys(lab.web)  # as its `create` is heard, before its inspect
        lab.add("created")
        await lab.deliver(Hint("create", lab.web))
        assert lab.api.calls == [PUT]
        assert lab.file == lines(["10.0.0.2"])

    async def test_before_the_first_look_is_complete_it_may_be_an_old_container(
        self, lab: Lab
    ) -> None:
        """A source's answer came before that of a container whose file is right."""
        lab.api.files[FILE] = lines(["10.0.0.2"]).encode()
        lab.add("created", inspected=False)
        lab.keys(recipients=[lab.web])
        lab.add("created")
        await lab.deliver()
        assert PUT not in lab.api.calls

    async def test_while_it_runs_a_new_one_is_moved_over_it(self, lab: Lab) -> None:
        lab.add()
        for address in ("10.0.0.2", "10.0.0.3"):
            lab.move(address)
            await lab.deliver()
            assert lab.api.calls[-2:] == RENEWED
            assert lab.api.files == {FILE: lines([address]).encode()}

    @pytest.mark.parametrize("state", ["running", "exited"])
    async def test_what_is_right_costs_one_look_and_then_no_call(
        self, lab: Lab, state: str
    ) -> None:
        lab.api.files[FILE] = lines(["10.0.0.2"]).encode()
        lab.add(state)
        await lab.deliver()
        assert lab.api.calls == [GET]
        lab.engine.asked.clear()
        await lab.deliver(Hint("resync"))
        assert (lab.api.calls, lab.engine.asked) == ([], [])

    async def test_of_a_stopped_one_it_is_what_its_next_first_process_needs(self, lab: Lab) -> None:
        lab.add()
        await lab.deliver()
        lab.world.hear("die", "web")
        await lab.deliver(Hint("die", lab.web))
        assert lab.api.calls == []
        lab.move("10.0.0.3")
        await lab.deliver()
        assert lab.api.calls == [PUT]
        assert lab.file == lines(["10.0.0.3"])

    async def test_while_it_starts_nothing_is_put_over_it(self, lab: Lab) -> None:
        lab.add("exited")
        await lab.deliver()
        lab.world.hear("connect", "web", "bridge")
        assert lab.world["web"].state == "starting"
        lab.move("10.0.0.3")
        await lab.deliver()
        assert lab.api.calls == RENEWED

    async def test_one_that_comes_up_in_between_is_not_put_over(self, lab: Lab) -> None:
        lab.add("exited")
        lab.api.meanwhile[GET] = lambda: lab.world.hear("connect", "web", "bridge")
        await lab.deliver()
        assert lab.api.calls == [GET, *RENEWED]

    async def test_before_its_inspect_nothing_is_done(self, lab: Lab) -> None:
        lab.add("created", inspected=False)
        await lab.deliver(Hint("create", lab.web))
        assert lab.api.calls == []

    async def test_gone_in_between_it_is_forgotten(self, lab: Lab) -> None:
        lab.add()
        lab.api.meanwhile[MOVE] = lambda: lab.world.remove("web")
        lab.api.errors[MOVE] = NotFoundError("no such container")
        with pytest.raises(NotFoundError):
            await lab.deliver()
        lab.api.errors.clear()
        lab.add()
        lab.api.meanwhile[MOVE] = lambda: lab.world.remove("web")
        await lab.deliver()
        lab.add()
        await lab.deliver()
        assert lab.api.calls[0] == GET  # what was held is not known of another of that name
        lab.world.remove("web")
        assert lab.keys(lab.web) == set()
        lab.add()
        await lab.deliver()
        assert lab.api.calls == [GET]

    @pytest.mark.parametrize("at", [PUT_NEW, MOVE])
    async def test_after_a_failure_it_looks_what_there_is(self, lab: Lab, at: str) -> None:
        lab.add()
        await lab.deliver()
        lab.move("10.0.0.3")
        lab.api.errors[at] = EngineGoneError("the connection broke")
        with pytest.raises(EngineGoneError):
            await lab.deliver()
        lab.api.errors.clear()
        await lab.deliver()
        assert lab.api.calls == [GET, *RENEWED]
        assert lab.api.files == {FILE: lines(["10.0.0.3"]).encode()}

    async def test_a_move_that_was_done_though_its_answer_was_lost_is_seen(self, lab: Lab) -> None:
        lab.add()
        await lab.deliver()
        lab.move("10.0.0.3")

        def done() -> None:
            lab.api.files[FILE] = lab.api.files.pop(f"{FILE}.new")

        lab.api.meanwhile[MOVE] = done
        lab.api.errors[MOVE] = EngineGoneError("the connection broke")
        with pytest.raises(EngineGoneError):
            await lab.deliver()
        await lab.deliver()
        assert lab.api.calls == [GET]

    @pytest.mark.parametrize("code", [126, 127])
    async def test_without_mv_it_fails_and_says_so(self, lab: Lab, code: int) -> None:
        lab.add()
        lab.api.errors[MOVE] = Ran(code, "exec: mv: not found")
        with pytest.raises(EngineFailedError, match="its image has no mv"):
            await lab.deliver()

    async def test_what_mv_says_is_said(self, lab: Lab) -> None:
        lab.add()
        lab.api.errors[MOVE] = Ran(1, "mv: no space left\n")
        with pytest.raises(EngineFailedError, match=r"1: .mv: no space left.$"):
            await lab.deliver()

    async def test_what_changed_before_the_move_is_not_moved(self, lab: Lab) -> None:
        lab.add()
        lab.api.meanwhile[PUT_NEW] = lambda: lab.move("10.0.0.3")
        await lab.deliver()
        assert lab.api.calls == [GET, PUT_NEW]
        await lab.deliver()
        assert lab.api.calls == [GET, *RENEWED]
        assert lab.file == lines(["10.0.0.3"])

    async def test_what_changed_before_it_is_put_is_not_put(self, lab: Lab) -> None:
        lab.add()
        lab.api.meanwhile[GET] = lambda: lab.move("10.0.0.3")
        await lab.deliver()
        assert lab.api.calls == [GET]

    async def test_one_that_stops_before_the_move_is_put_over(self, lab: Lab) -> None:
        lab.add()
        lab.api.meanwhile[PUT_NEW] = lambda: lab.world.hear("die", "web")
        await lab.deliver()
        assert lab.api.calls == [GET, PUT_NEW]
        await lab.deliver()
        assert lab.api.calls == [GET, PUT]

    async def test_one_that_leaves_its_network_is_left_alone_for_a_while(self, lab: Lab) -> None:
        """Mostly it stops, and what it finds at its next start is what it has."""
        lab.add()
        await lab.deliver()
        lab.world.disconnect("web", "bridge")
        assert await lab.deliver() == Done(LEFT_ALONE)
        assert lab.api.calls == []
        lab.world.hear("die", "web")
        assert await lab.deliver() == Done()
        assert lab.api.calls == []

    async def test_a_source_that_leaves_its_network_is_taken_out_at_once(self, lab: Lab) -> None:
        lab.add()
        await lab.deliver()
        lab.world.disconnect("db", "bridge")
        assert await lab.deliver() == Done()
        assert lab.api.calls == RENEWED
        assert lab.file == f"{END}\n"

    async def test_one_that_its_container_deleted_comes_back_at_the_next_look(
        self, lab: Lab
    ) -> None:
        lab.add()
        await lab.deliver()
        del lab.api.files[FILE]
        await lab.deliver()
        assert lab.api.calls == []  # no event tells of it
        assert lab.resync() == {lab.web}
        await lab.deliver(Hint("resync"))
        assert lab.api.calls == [GET, *RENEWED]
        assert lab.file == lines(["10.0.0.2"])
        lab.resync()
        await lab.deliver(Hint("resync"))
        assert lab.api.calls == [GET]

    async def test_while_an_answer_is_missing_it_stays_as_it_is(self, lab: Lab) -> None:
        lab.add()
        await lab.deliver()
        mirror = lab.world.mirror
        mirror.lose()
        listed = frozenset(each.id for each in lab.world.networks.values())
        mirror.apply_answer(NetworkListAnswer(mirror.next_revision(), listed))
        assert await lab.deliver() == Done()
        assert (lab.api.calls, lab.file) == ([], lines(["10.0.0.2"]))

    async def test_a_source_that_is_made_anew_offers_something_else(self, lab: Lab) -> None:
        lab.add()
        await lab.deliver()
        lab.world.remove("db")
        await lab.deliver()
        assert lab.file == f"{END}\n"
        lab.engine.offers["db"] = Offer(running=True, exposed=("80/tcp",))
        lab.world.add(container("db", id_="d" * 64), bridge="10.0.0.2")
        await lab.deliver()
        assert "DB_PORT='tcp://10.0.0.2:80'" in lab.file

    async def test_a_source_that_goes_while_it_is_asked_is_not_told_of(self, lab: Lab) -> None:
        lab.add()
        lab.engine.offers["db"] = None
        await lab.deliver()
        assert lab.file == f"{END}\n"

    async def test_it_says_how_many_but_never_what(self, lab: Lab) -> None:
        lab.add(labels={"relinkd.env-copies": "P"})
        with capture_logs() as logs:
            await lab.deliver(Hint("start", lab.world.id("db")))
        assert "DB_ENV_P='s3cret'" in lab.file
        assert logs == [
            {
                "event": "env.written",
                "log_level": "info",
                "container": "web",
                "path": FILE,
                "variables": 7,
                "cause": "start",
                "of": "db",
            }
        ]
        assert "s3cret" not in repr(vars(lab.keeper))

    def test_only_those_with_the_label_are_queued(self, lab: Lab) -> None:
        lab.add()
        db = lab.world.id("db")
        assert lab.keys(db) == set()
        assert lab.keys(db, recipients=[lab.web]) == lab.keys(lab.web) == lab.resync() == {lab.web}


class TestLinks:
    def test_of_one_that_does_not_run_are_as_when_it_starts(self, lab: Lab) -> None:
        lab.add("created")
        (link,) = links_of(lab.world["web"], lab.world.graph, lab.world.mirror) or ()
        assert link.state == "linked"
        assert [each.ipv4 for each in link.targets] == ["10.0.0.2"]

    @pytest.mark.parametrize("state", ["created", "running"])
    @pytest.mark.parametrize("owner_state", ["exited", "running"])
    def test_in_another_containers_network_are_its_own(
        self, lab: Lab, state: str, owner_state: str
    ) -> None:
        on = {"bridge": "10.0.0.8"} if owner_state == "running" else {}
        owner = container("owner", "db:own", state=owner_state, networks=["bridge"])
        lab.world.add(owner, **on)
        lab.world.add(container("web", "db", state=state, mode="container:owner"))
        (link,) = links_of(lab.world["web"], lab.world.graph, lab.world.mirror) or ()
        assert (link.declaration.alias, link.state) == ("db", "linked")
        (link,) = links_of(lab.world["owner"], lab.world.graph, lab.world.mirror) or ()
        assert link.declaration.alias == "own"

    def test_without_the_container_whose_network_it_uses(self, lab: Lab) -> None:
        lab.world.add(container("web", "db", mode="container:nobody"))
        assert links_of(lab.world["web"], lab.world.graph, lab.world.mirror) is None

    def test_what_the_text_follows_from_tells_apart_what_differs(self, lab: Lab) -> None:
        def now() -> tuple[object, ...]:
            links = links_of(lab.world["web"], lab.world.graph, lab.world.mirror)
            return wish(lab.world["web"], links or ())

        lab.add(links="db")
        wishes = [now()]
        lab.move("10.0.0.3")
        wishes.append(now())
        lab.world.rename("web", "shop")
        lab.world.rename("shop", "web")
        assert now() == wishes[-1]
        lab.world.remove("db")
        wishes.append(now())
        lab.world.add(container("db", id_="d" * 64), bridge="10.0.0.3")
        wishes.append(now())
        lab.add(links="db:store")
        wishes.append(now())
        assert len(set(wishes)) == len(wishes)
