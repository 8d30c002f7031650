"""Lines that are not relinkd's: those of the engine, of users, and inside the block."""

import pytest

from reconciler.hosts import block as hostsfile
from reconciler.hosts.block import Edit, apply, read_block, without_block
from reconciler.hosts.plan import plan
from reconciler.links.desired import Line
from tests.unit.block_parts import (
    BEGIN,
    DEFAULTS,
    END,
    HOSTS,
    OWN,
    SPARE,
    final,
    link,
    v4,
    v6,
    with_block,
)

TWO = v4("10.0.0.3", "two")


class TestBehindOthers:
    """A kill may cut a write between two pages of 4,096 bytes; lines of others may not be lost."""

    LATE = b"172.19.0.7\t8f2a7d1b2c3d\n" * 3
    FULL = HOSTS + b"#" * (4000 - len(HOSTS)) + b"\n" + BEGIN + b"10.0.0.2        db\n" + END
    MORE = b"# relinkd more\n"

    def test_within_a_page_the_block_grows_where_it_is(self) -> None:
        got = final(with_block(b"10.0.0.2        db\n") + self.LATE, v4("10.0.0.2", "db"), TWO)
        grown = with_block(b"10.0.0.2        db\n", b"10.0.0.3        two\n", SPARE, SPARE)
        assert got == grown + self.LATE

    def test_over_two_it_goes_on_behind_them(self) -> None:
        data = self.FULL + self.LATE
        more = self.MORE + b"10.0.0.3        two\n" + SPARE + SPARE + END
        got = final(data, v4("10.0.0.2", "db"), TWO)
        assert got == data + more
        assert read_block(got) == (v4("10.0.0.2", "db"), TWO)
        assert without_block(got) == without_block(data)
        assert final(got, v4("10.0.0.9", "db"), TWO) == got.replace(b"10.0.0.2 ", b"10.0.0.9 ")

    def test_a_line_of_others_without_an_end_is_ended_and_given_back(self) -> None:
        data = self.FULL + self.LATE[:-1]
        got = final(data, v4("10.0.0.2", "db"), TWO)
        assert got.startswith(data + b"\n" + self.MORE + b"# eol %d\n" % len(data))
        assert without_block(got) == without_block(data)

    @pytest.mark.parametrize("written", range(len(b"# eol 4099") + 1))
    def test_the_record_of_that_end_may_be_cut_anywhere(self, written: int) -> None:
        data = self.FULL + self.LATE[:-1]
        left = data + b"\n" + self.MORE + (b"# eol %d" % len(data))[:written]
        assert without_block(left).startswith(without_block(data))
        assert self.MORE not in without_block(left)

    @pytest.mark.parametrize("covered", range(1, len(END) - 1))
    def test_an_end_marker_may_be_covered_in_part(self, covered: int) -> None:
        """As where it crossed a page, and the block was to grow over it."""
        data = self.FULL[: -len(END)] + (b"#".ljust(covered - 1) + b"\n")[:covered] + END[covered:]
        assert without_block(data) == without_block(self.FULL)

    def test_a_last_byte_of_a_piece_is_filled_by_an_empty_line_of_ours(self) -> None:
        data = self.FULL + self.LATE
        data += b"#" * (1024 - 1 - len(self.MORE) - len(data) % 1024 - 1) + b"\n"
        got = final(data, v4("10.0.0.2", "db"), TWO)
        assert got.startswith(data + self.MORE + b"\n10.0.0.3        two\n")
        assert read_block(got) == (v4("10.0.0.2", "db"), TWO)
        assert without_block(got) == without_block(data)

    def test_where_nothing_is_behind_it_the_block_grows(self) -> None:
        got = final(self.FULL, v4("10.0.0.2", "db"), TWO)
        assert got.startswith(self.FULL[: -len(END)])
        assert self.MORE not in got

    @pytest.mark.parametrize("theirs", [b"10.9.9.9\tdb\n", b"\n", b"text\n"])
    def test_what_others_put_between_such_markers_is_theirs(self, theirs: bytes) -> None:
        data = with_block(b"10.0.0.2        db\n") + self.MORE + theirs + END
        got = final(data, v4("10.0.0.2", "db"), TWO)
        assert got.endswith(self.MORE + theirs + END)
        assert without_block(got).endswith(self.MORE + theirs + END)

    def test_whoever_writes_many_such_markers_has_each_line_looked_at_once(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        looked_at: list[object] = []
        is_ours = hostsfile._is_ours

        def counted(line: hostsfile.FileLine, *, cut: bool) -> bool:
            looked_at.append(line)
            return is_ours(line, cut=cut)

        monkeypatch.setattr(hostsfile, "_is_ours", counted)
        theirs = b"10.0.0.2        db\n" * 100 + b"text\n" + END * 100
        data = with_block() + self.MORE + theirs + self.MORE + theirs
        assert read_block(data) == ()
        assert 0 < len(looked_at) <= len(data.splitlines())

    def test_without_a_block_such_a_marker_is_nobodys(self) -> None:
        data = HOSTS + self.MORE + b"10.0.0.2        db\n" + END
        assert final(data, v4(None, "two")).startswith(data + BEGIN)


class TestInsideTheBlock:
    """What somebody else wrote there is put right, in as many bytes."""

    def test_a_line_of_a_user(self) -> None:
        data = with_block(b"1.2.3.4 mine # note\n", b"  5.6.7.8 x\n", b"\n")
        assert final(data) == with_block(b"#.2.3.4 mine # note\n", b"# 5.6.7.8 x\n", b"\n")

    def test_no_tab_stays_for_the_engine_to_find(self) -> None:
        data = with_block(b"172.17.0.2\tdb h\n", b"#72.17.0.3\tweb h\n")
        assert final(data) == with_block(b"#              \n", b"#               \n")

    def test_no_line_is_too_long_for_musl(self) -> None:
        data = with_block(b"# " + b"1.2.3.4 db " * 60 + b"\n")
        assert final(data) == with_block(b"#".ljust(662) + b"\n")

    def test_other_bytes(self) -> None:
        assert final(with_block(b"\xff\xfe db\n")) == with_block(b"#    \n")

    def test_the_right_words_in_other_columns(self) -> None:
        data = with_block(b"10.0.0.2 db\n", SPARE)
        got = final(data, v4("10.0.0.2", "db"))
        assert got.startswith(HOSTS + BEGIN + b"#0.0.0.2 db\n10.0.0.2        db ")


class TestEngineLines:
    LINE = b"172.17.0.2\twebdb 32e6de555e89 db\n"
    LINE6 = b"fd00:d::2\twebdb 32e6de555e89 db\n"
    NAMES = ("webdb", "32e6de555e89", "db")

    def test_a_true_one_is_left_and_the_slot_is_a_comment(self) -> None:
        data = DEFAULTS + self.LINE + OWN
        got = plan(data, [v4("172.17.0.2", *self.NAMES)], [link("webdb", "172.17.0.2")])
        assert got.live == ()
        assert got.carried == {("webdb", "172.17.0.2")}
        assert apply(data, got.edits) == data + (
            BEGIN + b"#               webdb 32e6de555e89 db\n" + SPARE + SPARE + END
        )

    def test_an_untrue_one_is_turned_off_and_the_slot_is_live(self) -> None:
        data = DEFAULTS + self.LINE + OWN + BEGIN + b"#               webdb h db\n" + END
        got = plan(data, [v4("172.17.0.4", "webdb", "h", "db")], [link("WebDB", "172.17.0.4")])
        assert got.edits == got.fixed
        assert got.edits[0] == Edit(len(DEFAULTS), b"#")
        assert apply(data, got.edits) == DEFAULTS + b"#" + self.LINE[1:] + OWN + (
            BEGIN + b"172.17.0.4      webdb h db\n" + END
        )
        assert got.carried == set()

    def test_it_goes_with_the_source(self) -> None:
        data = DEFAULTS + self.LINE
        assert plan(data, [], [link("webdb")]).edits == (Edit(len(DEFAULTS), b"#"),)

    def test_one_turned_back_takes_over_from_the_slot(self) -> None:
        data = DEFAULTS + self.LINE + BEGIN + b"172.17.0.2      webdb\n" + END
        got = plan(data, [v4("172.17.0.2", "webdb")], [link("webdb", "172.17.0.2")])
        assert got.edits == (Edit(len(DEFAULTS + self.LINE + BEGIN), b"#"),)

    @pytest.mark.parametrize(
        ("written", "left"),
        [
            pytest.param(LINE, v6("fd00:d::2", "webdb"), id="20 and 26 write v4 twice"),
            pytest.param(LINE6, v4("172.17.0.2", "webdb"), id="28 and 29 write v6 twice"),
        ],
    )
    def test_dual_stack_after_the_updater(self, written: bytes, left: Line) -> None:
        """Of the two lines one stays, and the other family's slot is live."""
        data = DEFAULTS + written + written
        slots = [v4("172.17.0.2", "webdb"), v6("fd00:d::2", "webdb")]
        got = plan(data, slots, [link("webdb", "172.17.0.2", "fd00:d::2")])
        assert got.live == (left,)
        assert apply(data, got.edits).startswith(DEFAULTS + written + b"#" + written[1:] + BEGIN)

    def test_both_families_true(self) -> None:
        data = DEFAULTS + self.LINE + self.LINE6
        slots = [v4("172.17.0.2", "webdb"), v6("fd00:d::2", "webdb")]
        got = plan(data, slots, [link("webdb", "172.17.0.2", "fd00:d::2")])
        assert got.live == ()
        assert apply(data, got.edits).startswith(data)

    def test_one_that_is_off_stays_off(self) -> None:
        data = DEFAULTS + b"#" + self.LINE[1:]
        got = plan(data, [v4("172.17.0.2", "webdb")], [link("webdb", "172.17.0.2")])
        assert apply(data, got.edits).startswith(data)
        assert got.live == (v4("172.17.0.2", "webdb"),)

    def test_add_host_is_no_engine_line(self) -> None:
        data = DEFAULTS + b"10.9.9.9\twebdb\n"
        got = plan(data, [v4("172.17.0.4", "webdb")], [link("webdb", "172.17.0.4")])
        assert got.shadowed == {"webdb": "10.9.9.9\twebdb"}
        assert got.live == ()

    def test_a_line_of_no_link_is_not_ours(self) -> None:
        data = DEFAULTS + self.LINE
        assert plan(data, [v4("172.17.0.4", "webdb")]).shadowed == {
            "webdb": "172.17.0.2\twebdb 32e6de555e89 db"
        }

    def test_its_other_names_do_not_take_the_alias_of_another_link(self) -> None:
        """``--link db:webdb`` names ``db`` too, and a label may say that ``db`` is another."""
        data = DEFAULTS + self.LINE + BEGIN + SPARE + SPARE + END
        slots = [v4("172.17.0.2", "webdb"), v4("172.18.0.7", "db")]
        got = plan(data, slots, [link("webdb", "172.17.0.2")])
        assert got.edits[0] == Edit(len(DEFAULTS), b"#")
        assert got.live == tuple(slots)

    def test_its_other_names_may_say_the_same(self) -> None:
        data = DEFAULTS + self.LINE
        slots = [v4("172.17.0.2", "webdb"), v4("172.17.0.2", "db")]
        got = plan(data, slots, [link("webdb", "172.17.0.2")])
        assert got.live == (slots[1],)
        assert got.shadowed == {}


class TestForeignLines:
    @pytest.mark.parametrize(
        "line",
        [
            pytest.param(b"10.9.9.9\tdb\n", id="add-host"),
            pytest.param(b"  10.9.9.9 other DB # note\n", id="by hand"),
            pytest.param(b"fd00::9 db\r\n", id="CRLF and the other family"),
            pytest.param(BEGIN + b"10.9.9.9 db\n", id="an unended block"),
        ],
    )
    def test_wins(self, line: bytes) -> None:
        data = DEFAULTS + line + BEGIN + b"172.18.0.2      db\n" + END
        got = plan(data, [v4("172.18.0.2", "db")])
        assert got.shadowed == {"db": line.removeprefix(BEGIN).decode().strip()}
        assert got.live == ()
        assert apply(data, got.edits) == DEFAULTS + line + BEGIN + b"#72.18.0.2      db\n" + END

    @pytest.mark.parametrize(
        "line",
        [
            pytest.param(b"# 10.9.9.9 db\n", id="a comment"),
            pytest.param(b"10.9.9.9 x # db\n", id="a comment behind"),
            pytest.param(b"10.9.9.9 x\0 db\n", id="behind a NUL"),
            pytest.param(b"10.9.9.9 dbx x.db\n", id="another name"),
            pytest.param(b"10.9.9 db\n", id="no address"),
            pytest.param(b"db\n", id="no names"),
        ],
    )
    def test_does_not_name_it(self, line: bytes) -> None:
        data = DEFAULTS + line + BEGIN + b"172.18.0.2      db\n" + END
        assert plan(data, [v4("172.18.0.2", "db")]).edits == ()

    def test_the_first_of_them_is_named(self) -> None:
        data = DEFAULTS + b"10.9.9.9 db\n10.9.9.8 db\n\xff\n"
        assert plan(data, [v4(None, "Db")]).shadowed == {"db": "10.9.9.9 db"}
