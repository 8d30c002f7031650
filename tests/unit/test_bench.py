"""What the bench says of a round, and that its page says what its files do."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.bench import fleet, report
from tests.bench.apart import Script
from tests.bench.cells import figures
from tests.bench.half import Half
from tests.bench.rounds import Held, Round, Run, judged, right_at, runs_of, signalled, wrong
from tests.bench.stage import World, staged
from tests.prove.trial import PROOF, circumstances

FIRST, ONE, TWO, OWN = range(4)
NEW, OLD = "172.17.0.3", "172.17.0.2"
EVENTS = {"connect": 5_000_000, "start": 9_000_000}


def note(at: int, *changed: int, **shows: str) -> dict[str, Any]:
    """What the third process saw in one go: whose changes in which order, and what they show."""
    named = {"one": ONE, "two": TWO, "own": OWN, "first": FIRST}
    return {
        "changes": [(at * 1_000_000 + n, file) for n, file in enumerate(changed)],
        "shows": {str(file): [] for file in changed}
        | {str(named[name]): address.split() for name, address in shows.items()},
        "at": at * 1_000_000 + 500_000,
    }


def play(*notes: dict[str, Any]) -> Round:
    return judged(notes, [ONE, TWO], NEW, EVENTS, signal=signalled(notes, OWN, NEW), wrong=0)


class TestRound:
    def test_right_before_the_first_instruction(self) -> None:
        found = play(
            note(1, ONE, TWO), note(3, ONE, one=NEW), note(4, TWO, two=NEW), note(7, FIRST)
        )
        assert found.before_instruction
        assert found.before_start
        assert found.lead == 3.0
        assert found.after_connect == -1.0
        assert found.after_signal is None

    def test_one_of_two_after_it_is_late(self) -> None:
        found = play(note(3, ONE, one=NEW), note(7, FIRST), note(8, TWO, two=NEW))
        assert not found.before_instruction
        assert found.before_start
        assert found.lead == -1.0

    def test_after_start_is_later_still(self) -> None:
        found = play(note(7, FIRST), note(10, ONE, TWO, one=NEW, two=NEW))
        assert not found.before_start

    def test_within_one_note_the_order_of_changes_decides(self) -> None:
        early = play(note(6, ONE, TWO, FIRST, one=NEW, two=NEW))
        late = play(note(6, ONE, FIRST, TWO, one=NEW, two=NEW))
        assert (early.before_instruction, late.before_instruction) == (True, False)

    def test_of_several_changes_in_one_note_the_last_counts(self) -> None:
        # Which of them brought the address is not known: a look came after both.
        found = play(note(2, TWO, two=NEW), note(6, ONE, FIRST, ONE, one=NEW))
        assert not found.before_instruction

    def test_a_change_that_leaves_the_address_alone_makes_nothing_late(self) -> None:
        found = play(
            note(3, ONE, TWO, one=NEW, two=NEW), note(7, FIRST), note(8, ONE, TWO, one=NEW, two=NEW)
        )
        assert found.before_instruction

    def test_right_and_then_wrong_again_counts_from_when_it_is_right_for_good(self) -> None:
        notes = [
            note(2, ONE, TWO, one=NEW, two=NEW),
            note(4, ONE),
            note(7, FIRST),
            note(8, ONE, one=NEW),
        ]
        assert right_at(notes, ONE, NEW) == (3, 0, 8_000_000)
        assert not play(*notes).before_instruction

    def test_beside_another_address_is_not_right(self) -> None:
        assert right_at([note(2, ONE, one=f"{NEW} {OLD}")], ONE, NEW) is None

    def test_never_right(self) -> None:
        found = play(note(3, ONE, one=NEW), note(7, FIRST))
        assert not found.before_instruction
        assert found.lead is None

    def test_after_the_engines_own_line(self) -> None:
        found = play(
            note(1, OWN, own=OLD),
            note(2, OWN, OWN, own=NEW),
            note(3, ONE, TWO, one=NEW, two=NEW),
            note(4, OWN, own=NEW),
            note(7, FIRST),
        )
        assert found.after_signal == 1.000001

    def test_figures_of_several(self) -> None:
        early = play(note(3, ONE, TWO, one=NEW, two=NEW), note(7, FIRST))
        never = play(note(7, FIRST))
        found = figures([early, never])
        assert (found["rounds"], found["before_instruction"], found["leads"]) == (2, 1, [4.0])
        assert found["after_signal"] == {}

    def test_where_it_is_a_recipient_that_starts_there_is_no_source_to_be_before(self) -> None:
        late = Round(
            before_instruction=False,
            before_start=None,
            lead=None,
            after_connect=None,
            after_signal=None,
            wrong=0,
        )
        found = figures([late])
        assert (found["before_instruction"], found["before_start"]) == (0, None)


class TestWrong:
    def test_while_another_holds_the_address(self) -> None:
        held = [Held(OLD, 10, 20)]
        during, before, after = (Run(ONE, (OLD,), *when) for when in ((5, 11), (5, 9), (21, 30)))
        assert wrong([during], held, (OLD, NEW)) == 1
        assert wrong([before, after], held, (OLD, NEW)) == 0

    def test_an_address_that_never_was_the_sources(self) -> None:
        assert wrong([Run(ONE, ("172.17.0.9",), 1, 2)], [], (OLD, NEW)) == 1

    def test_no_address_is_not_wrong(self) -> None:
        assert wrong([Run(ONE, (), 1, 30)], [Held(OLD, 1, 30)], (OLD, NEW)) == 0

    def test_a_note_holds_from_its_look_to_the_next_change(self) -> None:
        runs = runs_of([note(1, ONE, one=OLD), note(5, ONE, one=NEW)], [ONE], 9_000_000)
        assert runs == [
            Run(ONE, (OLD,), 1_500_000, 5_000_000),
            Run(ONE, (NEW,), 5_500_000, 9_000_000),
        ]


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    found = [tmp_path / name for name in ("first", "one")]
    for file in found:
        file.write_text(f"{OLD}\tdb\n")
    return found


class TestThirdProcess:
    def test_the_judge_notes_changes_in_order_and_what_they_show(self, files: list[Path]) -> None:
        with Script("judge", "db", *files) as judge:
            assert judge.take() == []
            files[1].write_text(f"{NEW:15} db\n")
            files[0].write_text("\n")
            notes = self.until_changed(judge, 0)
        changed = [file for each in notes for _, file in each["changes"]]
        assert changed.index(0) > max(at for at, file in enumerate(changed) if file == 1)
        assert right_at(notes, 1, NEW) is not None
        assert judged(notes, [1], NEW, EVENTS, signal=None, wrong=0).before_instruction

    def test_the_judge_keeps_the_order_of_more_changes_than_one_read_holds(
        self, files: list[Path]
    ) -> None:
        more = files[0].with_name("two")
        more.touch()
        with Script("judge", "db", *files, more) as judge:
            for _ in range(3000):
                for file in (files[1], more):
                    with file.open("r+") as there:
                        there.write("#")
            files[0].write_text("\n")
            notes = self.until_changed(judge, 0)
        changed = [file for each in notes for _, file in each["changes"] if file != 0]
        assert changed == [1, 2] * 3000

    def test_the_judge_sees_the_late_one(self, files: list[Path]) -> None:
        with Script("judge", "db", *files) as judge:
            files[0].write_text("\n")
            files[1].write_text(f"{NEW:15} db\n")
            notes = self.until_changed(judge, 1)
        assert not judged(notes, [1], NEW, EVENTS, signal=None, wrong=0).before_instruction

    def until_changed(self, judge: Script, file: int) -> list[dict[str, Any]]:
        notes: list[dict[str, Any]] = []
        while not any(n == file for each in notes for _, n in each["changes"]):
            notes += judge.take()
        return notes

    def test_the_sampler_says_from_when_to_when_a_file_answered_so(self, files: list[Path]) -> None:
        with Script("sampler", "db", files[1]) as sampler:
            runs = self.until_shown(sampler, OLD)
            before = time.time_ns()
            files[1].write_text(f"{NEW:15} db\n")
            after = time.time_ns()
            runs += self.until_shown(sampler, NEW)
        assert all(begun < after for _, shown, _, begun in runs if shown == [OLD])
        assert all(ended > before for _, shown, ended, _ in runs if shown == [NEW])

    def until_shown(self, sampler: Script, address: str) -> list[Any]:
        runs: list[Any] = []
        while not any(shown == [address] for _, shown, *_ in runs):
            runs += sampler.take()
        return runs


class TestBareLoops:
    def test_inotify_takes_the_sources_own_line(self, tmp_path: Path) -> None:
        source, target = "ab" * 32, tmp_path / "target"
        hosts = tmp_path / "containers" / source / "hosts"
        hosts.parent.mkdir(parents=True)
        hosts.touch()
        target.write_text(f"{'#':15} db\n")
        with Script("bare_inotify", hosts.parents[1], source, target):
            text = f"127.0.0.1\tlocalhost\n{NEW}\t{source[:12]}\n"
            self.until_holds(target, NEW, lambda: hosts.write_text(text))

    def test_inotify_waits_for_the_file_of_a_new_source(self, tmp_path: Path) -> None:
        source, target = "cd" * 32, tmp_path / "target"
        hosts = tmp_path / "containers" / source / "hosts"
        hosts.parents[1].mkdir()
        target.write_text(f"{'#':15} db\n")
        with Script("bare_inotify", hosts.parents[1], "ab" * 32, target):
            hosts.parent.mkdir()
            text = f"{NEW}\t{source[:12]}\n"
            self.until_holds(target, NEW, lambda: hosts.write_text(text))

    def until_holds(self, target: Path, address: str, write: Callable[[], object]) -> None:
        while target.read_text() != f"{address:15} db\n":
            write()
            time.sleep(0.005)


class TestPage:
    def test_it_says_what_the_files_say(self) -> None:
        found = report.kept()
        assert found
        assert report.REPORT.read_text("utf-8") == report.report(found)
        for path, picture in report.pictures(found).items():
            assert path.read_text("utf-8") == picture
        assert {*PROOF.glob("bench-*.svg")} == {*report.pictures(found)}


def test_the_page_of_the_fleet_says_what_was_measured() -> None:
    page = fleet.PAGE.read_text("utf-8")
    file = PROOF / "bench-fleet.json"
    assert fleet.filled(page, json.loads(file.read_text()) if file.exists() else None) == page


def test_the_table_of_the_fleet_has_each_row() -> None:
    kept = {"fleet": [["keys", "400", "all"]], **circumstances()}
    table = fleet.filled(fleet.PAGE.read_text("utf-8"), kept).partition(fleet.BEGIN)[2]
    assert table.startswith("\n| what | measured | more |\n|---|---|---|\n| keys | 400 | all |\n")
    assert str(kept["machine"]) in table.partition(fleet.END)[0]


def test_a_world_of_the_bench_follows_its_restarts() -> None:
    with staged(World(1, 10)) as (folder, _), closing(Half(folder)) as half:
        assert half.restarts(3) > 0
