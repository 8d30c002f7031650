"""What a hosts file is read as: its block, its markers, and a file that is not ready."""

import pytest

from reconciler.hosts.block import Naming, NotReady, lines_naming, read_block, without_block
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
    def test_is_refused(self, slot: Line) -> None:
        with pytest.raises(ValueError, match=r"not an IPv|not host names|would have 501 bytes"):
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
