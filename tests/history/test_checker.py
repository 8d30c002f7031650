"""Each promise over hand-made histories: one that keeps it, and those that break it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.history.checker import PROMISES, check
from tests.history.record import Line, write

WEB, DB, OTHER, NET = (letter * 64 for letter in "abcd")
AT, MOVED = "172.18.0.2", "172.18.0.9"
HELD = "255.255.255.255"
TOP = "127.0.0.1\tlocalhost\n"


def hosts(*entries: tuple[str, str], top: str = TOP) -> str:
    lines = "".join(f"{address:15} {alias}\n" for alias, address in entries)
    return f"{top}# relinkd begin\n{lines}# relinkd end\n"


def container(
    name: str, address: str | None = None, links: dict[str, list[str]] | None = None, **more: Any
) -> Line:
    return {
        "name": name,
        "running": True,
        "calls": [name],
        "links": links or {},
        "addresses": {"back": [address]} if address else {},
        **more,
    }


class History:
    """Lines of which most are a second after the one before."""

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self.now = 0.0
        self.questions = 0
        self.true().file(TOP, by="engine")

    def add(self, kind: str, *, after: float = 1.0, **values: Any) -> History:
        self.now += after
        self.lines.append({"at": self.now, "kind": kind, **values})
        return self

    def true(self, *, after: float = 1.0, **others: Line) -> History:
        """Let `web` link to `db`, with others, or without `db` where that is said."""
        there = {
            WEB: container("web", "172.18.0.3", {"db": ["db"]}),
            DB: container("db", AT),
            **{{"web": WEB, "db": DB, "other": OTHER}[name]: each for name, each in others.items()},
        }
        return self.add("truth", after=after, containers=there)

    def asks(self, path: str, *, after: float = 1.0) -> int:
        self.questions += 1
        self.add("asked", after=after, question=self.questions, path=path)
        return self.questions

    def answer(self, question: int, path: str, body: Any, status: int = 200) -> History:
        return self.add("answer", after=0, question=question, path=path, status=status, body=body)

    def network(self, *, after: float = 0, status: int = 200, **addresses: str) -> History:
        """Ask the network, and let it answer who is where."""
        return self.members(addresses, after=after, status=status)

    def members(self, addresses: dict[str, str], *, after: float = 0, status: int = 200) -> History:
        question = self.asks(f"/networks/{NET}", after=after)
        return self.answer(question, f"/networks/{NET}", members(**addresses), status)

    def look(self, **addresses: str) -> History:
        """Have everything looked at."""
        everybody = {"web": WEB, "db": DB, "other": OTHER}
        names = ["web", "db", *(name for name in addresses if name == "other")]
        listed = [{"Id": everybody[name], "State": "running"} for name in names]
        path = "/containers/json?all=1"
        self.answer(self.asks(path, after=0), path, listed)
        self.answer(self.asks("/networks", after=0), "/networks", [{"Id": NET}])
        for name in names:
            path = f"/containers/{everybody[name]}/json"
            self.answer(self.asks(path, after=0), path, inspected(everybody[name]))
        return self.members(addresses)

    def event(self, action: str, who: str, *, after: float = 1.0, network: bool = False) -> History:
        actor = {"ID": NET if network else who, "Attributes": {"container": who}}
        kind = "network" if network else "container"
        told = {"Type": kind, "Action": action, "Actor": actor}
        return self.add("event", after=after, event=told)

    def file(self, text: str, *, by: str = "relinkd", owner: str = WEB) -> History:
        return self.add("file", after=0, owner=owner, by=by, text=text)

    def broken(self, *, resync: float = 60.0) -> set[str]:
        return {each.promise for each in check(self.lines, resync=resync)}


def members(**addresses: str) -> Line:
    ids = {"web": WEB, "db": DB, "other": OTHER}
    return {
        "Name": "back",
        "IPAM": {"Config": [{"Subnet": "172.18.0.0/16"}]},
        "Containers": {
            ids[name]: {"Name": name, "IPv4Address": f"{address}/16"}
            for name, address in addresses.items()
        },
    }


def inspected(id_: str, *, running: bool = True, links: str = "db", health: str = "") -> Line:
    return {
        "Id": id_,
        "State": {"Running": running, **({"Health": {"Status": health}} if health else {})},
        "Config": {"Labels": {"relinkd.links": links}},
        "HostConfig": {"Links": None},
        "NetworkSettings": {"Networks": {"back": {"Links": None}}},
    }


def linked() -> History:
    """A relinkd that found `web` and `db`, and linked them."""
    history = History().add("begin").look(web="172.18.0.3", db=AT)
    return history.file(hosts(("db", AT)))


def test_a_history_that_keeps_every_promise() -> None:
    history = linked().event("disconnect", DB, network=True).file(hosts())
    history.true(db=container("db", running=False)).event("die", DB)
    history.true(db=container("db", MOVED), after=1).event("connect", DB, network=True)
    history.network(web="172.18.0.3", db=MOVED).file(hosts(("db", MOVED)))
    assert history.broken() == set()


class TestGrants:
    def test_before_any_answer(self) -> None:
        assert History().add("begin").file(hosts(("db", AT))).broken() == {
            "no_grant_before_its_cause"
        }

    def test_by_what_was_known_before_the_engine_was_lost(self) -> None:
        history = linked().add("lost").file(TOP, by="engine").file(hosts(("db", AT)))
        assert history.broken() == {"no_grant_before_its_cause"}

    def test_by_what_another_relinkd_was_told(self) -> None:
        history = linked().add("end").file(TOP, by="engine").add("begin")
        assert history.file(hosts(("db", AT))).broken() == {"no_grant_before_its_cause"}

    def test_by_an_answer_that_was_asked_before_the_end(self) -> None:
        history = History().add("begin")
        question = history.asks(f"/networks/{NET}")
        history.event("disconnect", DB, network=True)
        history.answer(question, f"/networks/{NET}", members(web="172.18.0.3", db=AT))
        assert history.file(hosts(("db", AT))).broken() == {"no_grant_before_its_cause"}

    def test_by_an_answer_about_another(self) -> None:
        history = History().add("begin").network(other=AT)
        assert history.file(hosts(("db", AT))).broken() == {"no_grant_before_its_cause"}

    @pytest.mark.parametrize("name", ["db", "other"])
    def test_by_the_file_of_the_source_alone(self, name: str) -> None:
        history = History().add("begin")
        history.file(f"{TOP}{AT}\t{name}\n", by="engine", owner=DB if name == "db" else OTHER)
        history.file(hosts(("db", AT)))
        assert history.broken() == (set() if name == "db" else {"no_grant_before_its_cause"})

    def test_by_a_file_from_before_its_end(self) -> None:
        history = History().add("begin").file(f"{TOP}{AT}\tdb\n", by="engine", owner=DB)
        history.event("die", DB).file(hosts(("db", AT)))
        assert history.broken() == {"no_grant_before_its_cause"}

    def test_a_line_that_was_there_needs_none(self) -> None:
        history = linked().add("end").add("begin")
        assert history.file(hosts(("db", AT)) + "# spare\n").broken() == {"foreign_bytes_stay"}


class TestAnothersAddress:
    def taken(self) -> History:
        """`db` has stopped, and `other` has its address."""
        history = linked().event("die", DB, after=1)
        stopped = container("db", running=False)
        return history.true(db=stopped, other=container("other", AT), after=0)

    def test_an_event_told_of_the_end(self) -> None:
        history = self.taken().add("over")
        assert "no_alias_at_anothers_address" in history.broken()

    def test_the_line_is_gone_in_time(self) -> None:
        assert self.taken().file(hosts()).add("over").broken() == set()

    def test_nothing_told_of_it(self) -> None:
        history = linked().true(db=container("db", running=False), other=container("other", AT))
        history.file(hosts(("db", AT)))
        assert history.broken() == {"right_in_the_end"}

    @pytest.mark.parametrize(("seconds", "broken"), [(0.5, False), (2.0, True)])
    def test_a_look_told_who_has_it(self, seconds: float, broken: bool) -> None:
        history = linked().true(db=container("db", running=False), other=container("other", AT))
        history.network(web="172.18.0.3", other=AT)
        history.add("log", event="x", after=seconds)
        assert ("no_alias_at_anothers_address" in history.broken()) is broken


class TestWithdrawals:
    @pytest.mark.parametrize("how", ["nothing", "a failed answer", "another's end", "a start"])
    def test_without_a_cause(self, how: str) -> None:
        history = linked()
        match how:
            case "a failed answer":
                history.network(after=1, status=500)
            case "another's end":
                history.event("die", OTHER)
            case "a start":
                history.event("start", DB)
        assert history.file(hosts()).broken() >= {"no_withdrawal_without_a_cause"}

    @pytest.mark.parametrize("action", ["die", "disconnect", "destroy", "rename"])
    def test_by_an_event(self, action: str) -> None:
        history = linked().event(action, DB, network=action == "disconnect").file(hosts())
        assert "no_withdrawal_without_a_cause" not in history.broken()

    @pytest.mark.parametrize("waits", [False, True])
    def test_of_one_that_fell_ill(self, waits: bool) -> None:
        web = container("web", "172.18.0.3", {"db": ["db"]}, waits=waits)
        history = linked().true(web=web).event("health_status: unhealthy", DB).file(hosts())
        assert ("no_withdrawal_without_a_cause" in history.broken()) is not waits

    @pytest.mark.parametrize(
        "body",
        [inspected(DB, running=False), inspected(WEB, links="x"), inspected(WEB, running=False)],
        ids=["the source stopped", "the declaration went", "the recipient stopped"],
    )
    def test_by_an_inspect(self, body: Line) -> None:
        history = linked()
        path = f"/containers/{body['Id']}/json"
        history.answer(history.asks(path), path, body)
        assert "no_withdrawal_without_a_cause" not in history.file(hosts()).broken()

    def test_by_an_inspect_that_says_that_all_is_well(self) -> None:
        history = linked()
        path = f"/containers/{DB}/json"
        history.answer(history.asks(path), path, inspected(DB))
        assert "no_withdrawal_without_a_cause" in history.file(hosts()).broken()

    @pytest.mark.parametrize(("who", "gone"), [("web", True), ("db", True), ("both", False)])
    def test_by_a_network(self, who: str, gone: bool) -> None:
        there = {"web": "172.18.0.3", "db": AT}
        there.pop(who, None)
        history = linked().members(there, after=1).file(hosts())
        assert ("no_withdrawal_without_a_cause" not in history.broken()) is gone

    def test_by_an_answer_older_than_the_grant(self) -> None:
        history = History().add("begin")
        question = history.asks(f"/networks/{NET}")
        history.look(web="172.18.0.3", db=AT).file(hosts(("db", AT)))
        history.answer(question, f"/networks/{NET}", members(web="172.18.0.3"))
        assert "no_withdrawal_without_a_cause" in history.file(hosts()).broken()

    def test_by_what_another_relinkd_was_told(self) -> None:
        history = linked().event("die", DB).add("end").add("begin").file(hosts())
        assert "no_withdrawal_without_a_cause" in history.broken()

    @pytest.mark.parametrize("action", ["", "start", "connect"])
    def test_of_an_address_that_the_engine_did_not_confirm(self, action: str) -> None:
        history = History().add("begin").file(f"{TOP}{AT}\tdb\n", by="engine", owner=DB)
        history.file(hosts(("db", AT)))
        if action:
            history.event(action, DB, network=action == "connect")
        history.add("log", event="x").file(hosts())
        assert ("no_withdrawal_without_a_cause" in history.broken()) is bool(action)


class TestHolding:
    @pytest.mark.parametrize(("line", "broken"), [((), True), ((("db", HELD),), False)])
    def test_a_name_of_the_dns(self, line: tuple[tuple[str, str], ...], broken: bool) -> None:
        web = container("web", "172.18.0.3", {"db": ["db"]}, waits=True)
        history = linked().true(web=web, db=container("db", AT, healthy=False))
        history.event("health_status: unhealthy", DB, after=0).file(hosts(*line)).add("over")
        assert history.broken() == ({"held_where_it_must_be"} if broken else set())

    def test_a_name_that_nobody_has(self) -> None:
        history = linked().true(db=container("db", running=False)).event("die", DB, after=0)
        history.file(hosts()).network(web="172.18.0.3").add("over")
        assert history.broken() == set()


@pytest.mark.parametrize(("lie", "resync"), [(False, 60.0), (True, 1.0)])
def test_a_line_that_nothing_declares(lie: bool, resync: float) -> None:
    history = linked()
    if lie:
        history.add("lie", how="hidden", about=1)
    history.true(web=container("web", "172.18.0.3")).add("over").add("over").add("over", after=3)
    assert history.broken(resync=resync) == {"nothing_undeclared_stands"}
    assert history.file(hosts()).broken(resync=60) == (set() if lie else history.broken())


@pytest.mark.parametrize(
    "text",
    [
        hosts() + "# relinkd begin\n# relinkd end\n",
        TOP + "# relinkd begin\n",
        TOP + "# relinkd end\n",
        TOP + "# relinkd more\n# relinkd end\n",
    ],
)
def test_more_or_less_than_one_block(text: str) -> None:
    assert "one_block" in History().file(text).broken()


def test_a_block_that_continues() -> None:
    text = hosts() + "# relinkd more\n# relinkd end\n"
    assert History().file(TOP, by="engine").file(text).broken() <= {"right_in_the_end"}


def test_bytes_of_others() -> None:
    engine = f"{TOP}172.17.0.2\tdb 0123 name\n"
    off = engine.replace("172.17", "#72.17")
    for changed in (TOP, f"{engine}10.0.0.1 x\n", engine.replace("name", "nam"), off):
        history = History().file(engine, by="engine").file(hosts(top=changed))
        assert "foreign_bytes_stay" in history.broken()
    bound = container("web", "172.18.0.3", bound=["db"])
    history = History().true(web=bound).file(engine, by="engine").file(hosts(top=off))
    assert history.broken() == set()


@pytest.mark.parametrize(
    ("lines", "broken"),
    [
        ([(None, AT), (AT, MOVED)], set()),
        ([(None, AT), (None, AT)], {"told_once"}),
        ([(AT, AT)], {"told_once"}),
    ],
)
def test_news_of_links(lines: list[tuple[str | None, str]], broken: set[str]) -> None:
    history = linked()
    for old, new in lines:
        history.add(
            "log", event="link.changed", recipient="web", alias="db", family=4, old=old, new=new
        )
    assert history.broken() == broken


def test_news_of_the_engine() -> None:
    history = linked()
    for event in ("engine.lost", "engine.found", "engine.lost"):
        history.add("log", event=event, reason="gone")
    assert history.broken() == set()
    history.add("log", event="engine.lost", reason="refused")
    assert history.broken() == set()
    assert history.add("log", event="engine.lost", reason="gone").broken() == {
        "a_loss_is_told_once"
    }


def test_notified() -> None:
    history = linked().add("notified", recipient="web", addresses=[AT])
    assert history.add("notified", recipient="web", addresses=[MOVED]).broken() == set()
    history.add("notified", recipient="web", addresses=[MOVED])
    assert history.broken() == {"notified_once"}


@pytest.mark.parametrize("text", [hosts(("db", MOVED)), hosts(), TOP])
def test_wrong_in_the_end(text: str) -> None:
    history = linked().event("rename", DB).file(text)
    assert "right_in_the_end" in history.broken()
    assert "right_in_the_end" in history.add("end").broken()
    assert "right_in_the_end" not in history.true().broken()


def test_every_promise_says_what_it_is() -> None:
    assert all(each.__doc__ for each in PROMISES)


def test_as_a_program(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "tests.history.checker", str(tmp_path / "record")]
    history = linked()
    write(tmp_path / "record", history.lines)
    run = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (0, f"{len(history.lines)} lines, 0 violations\n")
    write(tmp_path / "record", history.file(hosts()).lines)
    run = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert (
        f"no_withdrawal_without_a_cause: nothing told since took {AT} from db of web" in run.stdout
    )
