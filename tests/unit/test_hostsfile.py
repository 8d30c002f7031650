import pytest

from reconciler.core import hostsfile
from reconciler.core.hostsfile import (
    HELD,
    Edit,
    EngineLink,
    Naming,
    NotReady,
    Slot,
    apply,
    lines_naming,
    plan,
    read_block,
    without_block,
)

# What an engine writes, by hand from a container of 28.5: defaults, then the container's own line.
DEFAULTS = b"127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
OWN = b"172.18.0.9\t8f2a7d1b2c3d\n"
HOSTS = DEFAULTS + OWN
BEGIN = b"# relinkd begin\n"
END = b"# relinkd end\n"
SPARE = b"# spare                                                                 \n"


def v4(address: str | None, *names: str) -> Slot:
    return Slot(names, 4, address)


def v6(address: str | None, *names: str) -> Slot:
    return Slot(names, 6, address)


def link(alias: str, *addresses: str) -> EngineLink:
    return EngineLink(alias, frozenset(addresses))


def with_block(*lines: bytes) -> bytes:
    return HOSTS + BEGIN + b"".join(lines) + END


TWO = v4("10.0.0.3", "two")


def final(data: bytes, *slots: Slot, links: tuple[EngineLink, ...] = ()) -> bytes:
    return apply(data, plan(data, slots, links).edits)


class TestNewBlock:
    def test_goes_to_the_end_in_one_write(self) -> None:
        got = plan(HOSTS, [v4("172.18.0.2", "db"), v6("fd00:18::2", "db"), v4(None, "cache")])
        assert got.edits == (
            Edit(
                len(HOSTS),
                b"# relinkd begin\n"
                b"172.18.0.2      db\n"
                b"fd00:18::2                              db\n"
                b"#               cache\n" + SPARE + SPARE + b"# relinkd end\n",
            ),
        )
        assert got.fixed == ()
        assert got.shifts
        assert got.live == (v4("172.18.0.2", "db"), v6("fd00:18::2", "db"))

    def test_ends_the_last_line_first(self) -> None:
        data = DEFAULTS + b"172.18.0.9\tno-newline"
        begun = b"\n# relinkd begin\n# eol %d\n#     " % len(data)
        assert final(data, v4(None, "db")).startswith(data + begun)

    def test_is_not_made_for_nothing(self) -> None:
        assert plan(HOSTS, []).edits == ()

    def test_holds_the_widest_addresses(self) -> None:
        wide = "fd00:1111:2222:3333:4444:5555:6666:7777"
        got = final(HOSTS, v4(HELD, "db"), v6(wide, "db"))
        assert b"\n255.255.255.255 db\nfd00:1111:2222:3333:4444:5555:6666:7777 db\n" in got

    def test_keeps_equal_replicas_apart(self) -> None:
        got = final(HOSTS, v4("10.0.0.2", "web"), v4(None, "web"), v4(None, "web"))
        assert got.count(b" web\n") == 3


class TestSlots:
    DB = b"172.18.0.2      db\n"
    AT = len(HOSTS + BEGIN)

    def test_right_as_it_is(self) -> None:
        assert plan(with_block(self.DB), [v4("172.18.0.2", "db")]).edits == ()

    def test_down_is_one_byte(self) -> None:
        got = plan(with_block(self.DB), [v4(None, "db")])
        assert got.edits == got.fixed == (Edit(self.AT, b"#"),)
        assert got.live == ()

    def test_back_is_one_byte(self) -> None:
        got = plan(with_block(b"#72.18.0.2      db\n"), [v4("172.18.0.2", "db")])
        assert got.edits == got.fixed == (Edit(self.AT, b"1"),)

    def test_moved_is_written_behind_the_comment_sign(self) -> None:
        got = plan(with_block(self.DB, SPARE), [v4("10.0.0.14", "db")])
        assert got.edits == (
            Edit(self.AT, b"#"),
            Edit(self.AT + 1, b"0.0.0.14       db"),
            Edit(self.AT, b"1"),
        )
        assert not got.shifts

    def test_moved_in_the_first_byte_alone(self) -> None:
        got = plan(with_block(self.DB), [v4("272.18.0.2", "db")])
        assert got.edits == (Edit(self.AT, b"#"), Edit(self.AT, b"2"))

    def test_v6_moved(self) -> None:
        line = b"fd00:18::2                              db\n"
        got = plan(with_block(line), [v6("fd00:18::33", "db")])
        assert apply(with_block(line), got.edits) == with_block(
            b"fd00:18::33                             db\n"
        )

    def test_withdrawals_come_first(self) -> None:
        data = with_block(b"10.0.0.2        a\n", b"10.0.0.3        b\n", b"#               c\n")
        got = plan(data, [v4("10.0.0.4", "a"), v4(None, "b"), v4("10.0.0.3", "c")])
        assert [edit.data[:1] for edit in got.edits] == [b"#", b"#", b"0", b"1", b"0", b"1"]
        assert [edit.offset for edit in got.edits[:2]] == [self.AT, self.AT + 18]

    def test_a_replica_takes_its_own_line_back(self) -> None:
        data = with_block(b"10.0.0.2        web\n", b"10.0.0.3        web\n")
        got = plan(data, [v4("10.0.0.3", "web"), v4("10.0.0.7", "web")])
        assert [edit.offset for edit in got.edits] == [self.AT, self.AT + 1, self.AT]

    def test_a_comment_is_not_of_the_other_family(self) -> None:
        data = with_block(b"#d00:18::2                              db\n", SPARE)
        got = apply(data, plan(data, [v6(None, "db"), v4("10.0.0.2", "db")]).edits)
        assert read_block(got) == (v6(None, "db"), v4("10.0.0.2", "db"))

    def test_no_slots_any_more(self) -> None:
        data = with_block(self.DB, SPARE)
        assert final(data) == with_block(b"#72.18.0.2      db\n", SPARE)

    def test_room_of_what_is_down_is_left_to_it(self) -> None:
        data = with_block(b"#               cache\n", SPARE)
        got = plan(data, [v4("10.0.0.2", "db"), v4(None, "cache")])
        assert got.edits == got.fixed
        assert b"\n#               cache\n" in apply(data, got.edits)


class TestRoom:
    def test_a_spare_is_named_anew(self) -> None:
        got = plan(with_block(SPARE), [v4("10.0.0.2", "db")])
        assert not got.shifts
        assert apply(with_block(SPARE), got.edits) == with_block(
            b"10.0.0.2        db                                                      \n"
        )

    def test_the_shortest_that_will_do(self) -> None:
        data = with_block(SPARE, b"#               queue\n", b"#               d\n")
        assert final(data, v4("10.0.0.2", "db")) == with_block(
            SPARE, b"10.0.0.2        db   \n", b"#               d\n"
        )

    def test_a_live_line_of_nobody_is_withdrawn_first(self) -> None:
        data = with_block(b"10.0.0.9        gone\n")
        got = plan(data, [v4("10.0.0.2", "db")])
        assert [edit.data for edit in got.edits] == [b"#", b"0.0.0.2        db  ", b"1"]

    def test_growing_moves_the_tail_in_one_write(self) -> None:
        data = with_block(b"#               db\n") + b"172.19.0.4\t8f2a7d1b2c3d"
        got = plan(data, [v4("10.0.0.2", "db"), v4("10.0.0.3", "cache")])
        assert got.shifts
        assert got.edits[:-1] == got.fixed != ()
        assert got.edits[-1] == Edit(
            len(HOSTS + BEGIN) + 19,
            b"10.0.0.3        cache\n" + SPARE + SPARE + END + b"172.19.0.4\t8f2a7d1b2c3d",
        )

    def test_growing_keeps_what_was_turned_off_behind_the_block(self) -> None:
        data = with_block() + b"172.17.0.2\twebdb 32e6de555e89 db\n"
        got = final(data, v4("172.17.0.4", "webdb"), links=(link("webdb", "172.17.0.4"),))
        assert got == with_block(b"172.17.0.4      webdb\n", SPARE, SPARE) + (
            b"#72.17.0.2\twebdb 32e6de555e89 db\n"
        )

    def test_spares_left_are_counted(self) -> None:
        data = with_block(SPARE)
        long = "a" * 100
        got = final(data, v4("10.0.0.3", long))
        assert got == with_block(SPARE, b"10.0.0.3        " + long.encode() + b"\n", SPARE)

    def test_an_unended_marker_is_ended(self) -> None:
        data = with_block(b"10.0.0.2        db\n")[:-1]
        got = plan(data, [v4("10.0.0.2", "db")])
        assert got.shifts
        assert apply(data, got.edits) == data + b"\n"


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

        def counted(line: hostsfile._Line, *, cut: bool) -> bool:
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


class TestPieces:
    """Of a line that lies in two pieces of 1,024 bytes a reader may see two moments."""

    # The block's first line then begins at 1,014.
    PAD = HOSTS + b"#" * (1024 - len(HOSTS + BEGIN) - 11) + b"\n" + BEGIN
    LINE = b"10.0.0.2        db\n"

    def test_none_is_made_there(self) -> None:
        before = self.PAD.removesuffix(BEGIN)
        got = final(before, v4("10.0.0.2", "db"))
        assert got == self.PAD + b"#        \n" + self.LINE + SPARE + SPARE + END

    def test_another_room_is_taken(self) -> None:
        data = self.PAD + self.LINE + SPARE + END
        got = plan(data, [v4("10.0.0.3", "db")])
        assert got.edits == got.fixed
        assert apply(data, got.fixed).startswith(self.PAD + b"#0.0.0.2        db\n10.0.0.3   ")

    def test_it_waits_for_a_lease_where_there_is_none(self) -> None:
        data = self.PAD + self.LINE + END
        got = plan(data, [v4("10.0.0.3", "db")])
        assert got.fixed == (Edit(1014, b"#"),)
        assert apply(data, got.edits) == self.PAD + b"10.0.0.3        db\n" + END

    def test_off_and_on_again_need_no_lease(self) -> None:
        data = self.PAD + self.LINE + END
        off = plan(data, [v4(None, "db")])
        assert off.edits == off.fixed == (Edit(1014, b"#"),)
        on = plan(apply(data, off.edits), [v4("10.0.0.2", "db")])
        assert on.edits == on.fixed == (Edit(1014, b"1"),)

    def test_the_newline_may_be_in_the_next(self) -> None:
        before = HOSTS + b"#" * (1024 - len(HOSTS + BEGIN) - 1 - 18) + b"\n"
        assert final(before, v4("10.0.0.2", "db")).index(self.LINE) == 1006


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


class TestMarkers:
    LIVE = b"1.2.3.4 db\n"

    @pytest.mark.parametrize(
        "text",
        [
            pytest.param(BEGIN + b"9.9.9.9 x\n", id="a beginning without an end"),
            pytest.param(END, id="an end without a beginning"),
            pytest.param(b" # relinkd begin\n9.9.9.9 x\n" + END, id="a beginning that is none"),
            pytest.param(b"# relinkd begin\r\n9.9.9.9 x\r\n# relinkd end\r\n", id="CRLF"),
        ],
    )
    def test_what_is_no_pair_is_somebodys_text(self, text: bytes) -> None:
        data = DEFAULTS + text + OWN
        assert read_block(data) is None
        assert final(data, v4(None, "db")).startswith(data + BEGIN)

    def test_the_last_beginning_before_the_end_counts(self) -> None:
        data = DEFAULTS + BEGIN + self.LIVE + BEGIN + b"5.6.7.8 x\n" + END
        assert final(data) == DEFAULTS + BEGIN + self.LIVE + BEGIN + b"#.6.7.8 x\n" + END

    def test_the_first_pair_counts(self) -> None:
        data = with_block(b"10.0.0.2        a\n") + BEGIN + self.LIVE + END
        assert final(data) == with_block(b"#0.0.0.2        a\n") + BEGIN + self.LIVE + END


class TestNotReady:
    @pytest.mark.parametrize(
        "data",
        [
            pytest.param(b"", id="truncated"),
            pytest.param(b"\0" * 60 + b"\n" + OWN, id="a hole"),
            pytest.param(b"\0127.0.0.1\tlocalhost\n", id="a hole up to it"),
            pytest.param(OWN, id="no localhost"),
            pytest.param(b"# 127.0.0.1 localhost\n", id="a comment"),
            pytest.param(b"172.18.0.9\tlocalhost\n", id="a strange localhost"),
            pytest.param(BEGIN + b"127.0.0.1\tlocalhost\n" + END, id="ours"),
        ],
    )
    def test_is_left(self, data: bytes) -> None:
        with pytest.raises(NotReady):
            plan(data, [])

    @pytest.mark.parametrize("line", [b"127.0.0.1 localhost", b"::1\tip6-localhost LocalHost"])
    def test_one_localhost_line_is_enough(self, line: bytes) -> None:
        assert plan(b"# mine\n" + line, []).edits == ()


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
    def test_dual_stack_after_the_updater(self, written: bytes, left: Slot) -> None:
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


class TestNoLine:
    @pytest.mark.parametrize(
        "slot",
        [
            pytest.param(v4("fd00::2", "db"), id="v6 as v4"),
            pytest.param(v6("a" * 40, "db"), id="too wide"),
            pytest.param(v4("10.0.0.2\n1.2.3.4", "db"), id="a line within an address"),
            pytest.param(v4("10.0.0.2", "db\n1.2.3.4 x"), id="a line within a name"),
            pytest.param(v4(None, "db", "a\tb"), id="a tab"),
            pytest.param(v4(None, "d#b"), id="a comment"),
            pytest.param(v4(None, "dü"), id="not ASCII"),
            pytest.param(v4(None, "db", ""), id="an empty name"),
            pytest.param(v4(None, "a" * 485), id="501 bytes"),
        ],
    )
    def test_is_refused(self, slot: Slot) -> None:
        with pytest.raises(ValueError, match=r"is no IPv|are no names|would have 501 bytes"):
            plan(HOSTS, [slot])

    def test_500_bytes_are_well(self) -> None:
        assert plan(HOSTS, [v4(None, "a" * 484)]).shifts


class TestReading:
    def test_the_block(self) -> None:
        data = with_block(
            b"172.18.0.2      db x  \n",
            b"#d00:18::2                              db\n",
            b"1.2.3.4 mine\n",
            SPARE,
        )
        assert read_block(data) == (v4("172.18.0.2", "db", "x"), v6(None, "db"))
        assert read_block(HOSTS) is None

    def test_the_lines_of_a_name(self) -> None:
        data = (
            DEFAULTS
            + b"10.9.9.9\tDB\n#10.9.9.8 db\n172.17.0.2\tdb 32e6de555e89\n"
            + BEGIN
            + b"172.18.0.2      db\n"
            + END
            + b"10.9.9 db\n10.9.9.7 x db\xff db\n"
        )
        assert lines_naming(data, "Db", [link("db")]) == (
            Naming("10.9.9.9\tDB", "10.9.9.9", "foreign"),
            Naming("172.17.0.2\tdb 32e6de555e89", "172.17.0.2", "engine"),
            Naming("172.18.0.2      db", "172.18.0.2", "ours"),
            Naming("10.9.9.7 x db\\xff db", "10.9.9.7", "foreign"),
        )


class TestWithoutBlock:
    def test_nothing_else_changes(self) -> None:
        tail = b"172.19.0.4\t8f2a\xff\r\n#72.17.0.2\tweb h\n#note\tdb is here\nx"
        data = with_block(b"172.18.0.2      db\n") + tail
        assert without_block(data, [link("db", "1.2.3.4")]) == HOSTS + tail

    def test_without_a_block(self) -> None:
        assert without_block(HOSTS) == HOSTS

    def test_an_unended_marker(self) -> None:
        assert without_block(with_block()[:-1]) == HOSTS

    @pytest.mark.parametrize(
        ("off", "addresses", "on"),
        [
            pytest.param(b"#72.17.0.2\tdb h\n", ["172.17.0.2"], b"172.17.0.2\tdb h\n", id="byte"),
            pytest.param(b"#72.17.0.2\tdb h\n", ["10.0.0.14"], b"10.0.0.14\tdb h\n", id="moved"),
            pytest.param(b"#72.17.0.2\tdb h\n", [], b"#72.17.0.2\tdb h\n", id="down"),
            pytest.param(
                b"#72.17.0.2\tdb h\n#d00::2\tdb h\n",
                ["fd00::3", "172.17.0.3"],
                b"172.17.0.3\tdb h\nfd00::3\tdb h\n",
                id="each family its own",
            ),
            pytest.param(
                b"#d00::2\tdb h\n#72.17.0.2\tdb h\n",
                ["172.17.0.2", "fd00::2"],
                b"fd00::2\tdb h\n172.17.0.2\tdb h\n",
                id="v6 before v4",
            ),
            pytest.param(
                b"172.17.0.2\tdb h\n#72.17.0.2\tdb h\n",
                ["fd00::2", "172.17.0.2"],
                b"172.17.0.2\tdb h\nfd00::2\tdb h\n",
                id="after the updater in dual stack",
            ),
        ],
    )
    def test_the_engines_lines_are_on_again(
        self, off: bytes, addresses: list[str], on: bytes
    ) -> None:
        data = DEFAULTS + off + with_block(b"172.17.0.2      db\n").removeprefix(DEFAULTS) + off
        got = without_block(data, [link("db", *addresses)])
        assert got.startswith(DEFAULTS + on + OWN)
