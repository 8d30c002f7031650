"""Each promise across hosts over hand-made records: one that keeps it, and one that breaks it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.history.across import PROMISES, PROMPT, check, longest
from tests.history.record import Line, write

WEB, DB, OTHER = (letter * 64 for letter in "abc")
AT, MOVED = "10.28.1.2", "10.28.1.3"
BOUND = 11.0
LITTLE = 0.5


class History:
    """`web` of node-b links to `//db`, which runs on node-a; each line says when it is."""

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self.true(0, WEB, "web", "node-b", "10.28.2.2", links={"db": ["//db"]})
        self.true(0, DB, "db", "node-a", AT).file(0, AT)

    def add(self, at: float, kind: str, **values: Any) -> History:
        self.lines.append({"at": float(at), "kind": kind, **values})
        return self

    def true(
        self,
        at: float,
        id_: str,
        name: str,
        host: str,
        address: str | None,
        *,
        links: dict[str, list[str]] | None = None,
    ) -> History:
        now = {
            "name": name,
            "host": host,
            "running": address is not None,
            "calls": [f"//{name}", f"{host}//{name}"],
            "links": links or {},
            "addresses": {"routed": [address]} if address else {},
        }
        return self.add(at, "is", id=id_, now=now)

    def db(self, at: float, address: str | None) -> History:
        return self.true(at, DB, "db", "node-a", address)

    def other(self, at: float, address: str | None) -> History:
        return self.true(at, OTHER, "other", "node-a", address)

    def file(self, at: float, address: str | None) -> History:
        line = f"{address:15} db\n" if address else "# 10.28.1.2 db\n"
        return self.add(at, "file", owner=WEB, text=f"# relinkd begin\n{line}# relinkd end\n")

    def away(self, at: float, *hosts: str) -> History:
        return self.add(at, "away", hosts=[*hosts])

    def end(self, at: float) -> History:
        return self.add(at, "end")


def moves(after: float) -> History:
    """The source moves, and the file follows so many seconds later."""
    return History().db(100, MOVED).file(100 + after, MOVED).end(200)


def intruder(after: float, *away: str) -> History:
    """Another takes the source's address at once; the alias goes so many seconds later."""
    history = History().away(100, *away).db(100, None).other(100, AT)
    return history.file(100 + after, None).end(200)


def cut_off(*away: str, after: float) -> History:
    """Hosts are cut off; the alias goes so many seconds later."""
    return History().away(100, *away).file(100 + after, None).end(200)


def back(after: float) -> History:
    """A host was away and is back; the alias comes so many seconds later."""
    history = History().away(100, "node-a").file(105, None).away(130)
    return history.file(130 + after, AT).end(200)


BROKEN = {
    "no_wrong_address_beyond_the_bound": moves(BOUND + LITTLE),
    "what_is_out_of_reach_is_withdrawn": cut_off("node-a", after=BOUND + LITTLE),
    "anothers_address_only_while_a_host_is_away": intruder(PROMPT + LITTLE),
    "comes_back_in_time": back(BOUND + LITTLE),
    "no_withdrawal_while_all_is_well": History().file(100, None).file(101, AT).end(200),
    "right_in_the_end": History().db(100, MOVED).file(100, MOVED).db(195, AT).end(200),
}
KEPT = {
    "a source moves": moves(BOUND - LITTLE),
    "another has the address of a host that is away": intruder(PROMPT + LITTLE, "node-a"),
    "another has the address for a moment": intruder(PROMPT - LITTLE),
    "a host is cut off": cut_off("node-a", after=BOUND - LITTLE),
    "a host is back": back(BOUND - LITTLE),
    "an answer was before its event": History().file(100, None).db(100 + LITTLE, None).end(200),
    "a recipient goes": History().add(100, "is", id=WEB).end(200),
}


def found(history: History) -> set[str]:
    return {each.promise for each in check(history.lines, bound=BOUND)}


def test_every_promise_is_broken_here() -> None:
    assert BROKEN.keys() == {each.__name__ for each in PROMISES}


@pytest.mark.parametrize("name", BROKEN)
def test_what_breaks_a_promise_is_found(name: str) -> None:
    assert found(BROKEN[name]) == {name}


@pytest.mark.parametrize("name", KEPT)
def test_what_keeps_them_is_not(name: str) -> None:
    assert found(KEPT[name]) == set()


def test_a_recipient_that_is_cut_off_keeps_nothing_of_other_hosts() -> None:
    assert found(cut_off("node-b", after=BOUND + LITTLE)) == {"what_is_out_of_reach_is_withdrawn"}


def test_the_next_source_takes_over_and_gives_back() -> None:
    history = History()
    links = {"db": ["node-a//db", "node-c//db"]}
    history.true(1, WEB, "web", "node-b", "10.28.2.2", links=links)
    history.true(1, OTHER, "db", "node-c", "10.28.3.2")
    history.db(100, None).file(101, "10.28.3.2").db(150, AT).file(151, AT)
    assert found(history.end(200)) == set()
    history.lines[-1:] = []
    assert found(history.file(201, "10.28.3.2").end(300)) == {
        "right_in_the_end",
        "no_withdrawal_while_all_is_well",
    }


def test_what_was_so_from_the_beginning_counts_as_long_so() -> None:
    history = History().file(1, None).file(2, AT).end(3)
    assert found(history) == {"no_withdrawal_while_all_is_well"}


def test_the_longest_spells_are_measured() -> None:
    assert longest(moves(3).lines, bound=BOUND)["wrong"] == 3
    assert longest(intruder(2).lines, bound=BOUND)["another's"] == 2
    assert longest(cut_off("node-a", after=4).lines, bound=BOUND)["unheard"] == 4


def test_a_file_is_checked_by_the_same_command(tmp_path: Path) -> None:
    path = tmp_path / "record.jsonl"
    argv = [sys.executable, "-m", "tests.history.checker", str(path), f"--bound={BOUND}"]
    write(path, moves(1).lines)
    assert subprocess.run(argv, check=False, capture_output=True).returncode == 0
    write(path, moves(BOUND + 1).lines)
    done = subprocess.run(argv, check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert "web: db at 10.28.1.2 for 12.00 s" in done.stdout
