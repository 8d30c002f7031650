"""Slots of a block, and the writes that bring it to the wanted lines."""

from reconciler.hosts.block import Edit, apply, read_block
from reconciler.hosts.plan import plan
from reconciler.links.desired import HELD
from tests.unit.block_parts import (
    BEGIN,
    DEFAULTS,
    END,
    HOSTS,
    SPARE,
    final,
    link,
    v4,
    v6,
    with_block,
)


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
