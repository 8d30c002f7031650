"""Variables of a link: the guide's examples, and what the engines' own tests and a lab saw."""

import pytest

from reconciler.links.reach import Link
from reconciler.links.variables import Style, reached_at, variables, written
from tests.builders import World, compose, container, network

CHILD = "172.0.17.2"


def lines(style: Style, name: str, address: str, exposed: str, *env: str) -> list[str]:
    return [
        f"{key}={value}" for key, value in variables(style, name, address, exposed.split(), env)
    ]


def port(prefix: str, number: int, protocol: str, address: str = CHILD) -> list[str]:
    """The four variables that an engine sets for a port."""
    key = f"{prefix}_PORT_{number}_{protocol.upper()}"
    return [
        f"{key}={protocol}://{address}:{number}",
        f"{key}_ADDR={address}",
        f"{key}_PORT={number}",
        f"{key}_PROTO={protocol}",
    ]


class TestDocumented:
    def test_the_guides_example_line_by_line(self) -> None:
        assert lines("documented", "/web2/db", "172.17.0.5", "5432/tcp") == [
            "DB_NAME=/web2/db",
            "DB_PORT=tcp://172.17.0.5:5432",
            "DB_PORT_5432_TCP=tcp://172.17.0.5:5432",
            "DB_PORT_5432_TCP_PROTO=tcp",
            "DB_PORT_5432_TCP_PORT=5432",
            "DB_PORT_5432_TCP_ADDR=172.17.0.5",
        ]

    def test_the_guides_webdb(self) -> None:
        assert set(lines("documented", "/web/webdb", "172.17.0.82", "8080/tcp")) == {
            "WEBDB_NAME=/web/webdb",
            "WEBDB_PORT=tcp://172.17.0.82:8080",
            *port("WEBDB", 8080, "tcp", "172.17.0.82"),
        }

    def test_an_alias_db1_begins_them_all(self) -> None:
        told = lines("documented", "/web2/db1", "172.17.0.5", "5432/tcp")
        assert all(line.startswith("DB1_") for line in told)

    @pytest.mark.parametrize(
        ("exposed", "first"),
        [
            ("80/tcp 9/udp", "udp://10.0.0.2:9"),
            ("53/udp 53/tcp", "tcp://10.0.0.2:53"),
            ("53/sctp 53/tcp", "tcp://10.0.0.2:53"),
            ("53/sctp 53/udp", "sctp://10.0.0.2:53"),
            ("1000/tcp 999/tcp", "tcp://10.0.0.2:999"),
        ],
    )
    def test_the_first_port_is_the_lowest_and_tcp_on_a_tie(self, exposed: str, first: str) -> None:
        assert f"DB_PORT={first}" in lines("documented", "/web/db", "10.0.0.2", exposed)

    def test_each_port_has_its_set_and_ranges_have_none(self) -> None:
        told = lines("documented", "/web/db", CHILD, "81/tcp 80/tcp 82/tcp 82/udp")
        assert told[0] == "DB_NAME=/web/db"
        assert told[1] == f"DB_PORT=tcp://{CHILD}:80"
        assert set(told[2:]) == {
            *port("DB", 80, "tcp"),
            *port("DB", 81, "tcp"),
            *port("DB", 82, "tcp"),
            *port("DB", 82, "udp"),
        }
        assert len(told) == 18

    def test_no_port_leaves_the_name(self) -> None:
        assert lines("documented", "/web/db", CHILD, "") == ["DB_NAME=/web/db"]

    @pytest.mark.parametrize(
        ("alias", "prefix"),
        [("my.db-1", "MY_DB_1"), ("a_b", "A_B"), ("7up", "7UP"), ("dé", "D_"), ("ß", "_")],
    )
    def test_characters_that_no_name_has_become_underscores(self, alias: str, prefix: str) -> None:
        assert lines("documented", f"/web/{alias}", CHILD, "") == [f"{prefix}_NAME=/web/{alias}"]

    def test_ipv6_is_a_url_in_brackets_and_a_bare_address(self) -> None:
        told = lines("documented", "/web/db", "fd00::2", "80/tcp")
        assert "DB_PORT=tcp://[fd00::2]:80" in told
        assert "DB_PORT_80_TCP_ADDR=fd00::2" in told


@pytest.mark.parametrize("style", ["engine27", "engine28"])
class TestBothEngines:
    def test_naming(self, style: Style) -> None:
        assert set(lines(style, "/db/docker-1", CHILD, "6379/tcp")) == {
            "DOCKER_1_NAME=/db/docker-1",
            f"DOCKER_1_PORT=tcp://{CHILD}:6379",
            *port("DOCKER_1", 6379, "tcp"),
        }

    def test_environment(self, style: Style) -> None:
        assert set(lines(style, "/db/docker", CHILD, "6379/tcp", "PASSWORD=gordon")) == {
            "DOCKER_ENV_PASSWORD=gordon",
            "DOCKER_NAME=/db/docker",
            f"DOCKER_PORT=tcp://{CHILD}:6379",
            *port("DOCKER", 6379, "tcp"),
        }

    def test_a_dot_stays_and_only_a_dash_goes(self, style: Style) -> None:
        assert lines(style, "/web/my.db-1", CHILD, "") == ["MY.DB_1_NAME=/web/my.db-1"]

    def test_other_scripts_as_go_maps_them(self, style: Style) -> None:
        assert lines(style, "/web/dé-ß", CHILD, "") == ["DÉ_ß_NAME=/web/dé-ß"]

    def test_only_the_last_part_of_a_name_is_the_alias(self, style: Style) -> None:
        assert lines(style, "/web/a/b", CHILD, "") == ["B_NAME=/web/a/b"]

    def test_copies_come_last_in_the_sources_order(self, style: Style) -> None:
        env = ("PATH=/bin", "HOME=/", "Z=", "a.b=c=d", "NONE", "M=1\n2", "home=x", "Z=2")
        assert lines(style, "/web/db", CHILD, "", *env) == [
            "DB_NAME=/web/db",
            "DB_ENV_Z=",
            "DB_ENV_a.b=c=d",
            "DB_ENV_M=1\n2",
            "DB_ENV_home=x",
            "DB_ENV_Z=2",
        ]


RANGE_OF_THREE = [
    f"DOCKER_PORT_6379_TCP_START=tcp://{CHILD}:6379",
    "DOCKER_PORT_6379_TCP_PORT_START=6379",
    f"DOCKER_PORT_6379_TCP_END=tcp://{CHILD}:6381",
    "DOCKER_PORT_6379_TCP_PORT_END=6381",
]


class TestEngine27:
    def test_a_range_in_its_order_with_doubles(self) -> None:
        told = lines(
            "engine27", "/db/docker", CHILD, "6381/tcp 6379/tcp 6380/tcp", "PASSWORD=gordon"
        )
        assert told == [
            f"DOCKER_PORT=tcp://{CHILD}:6379",
            RANGE_OF_THREE[0],
            f"DOCKER_PORT_6379_TCP_ADDR={CHILD}",
            "DOCKER_PORT_6379_TCP_PROTO=tcp",
            *RANGE_OF_THREE[1:],
            *port("DOCKER", 6379, "tcp"),
            *port("DOCKER", 6380, "tcp"),
            *port("DOCKER", 6381, "tcp"),
            "DOCKER_NAME=/db/docker",
            "DOCKER_ENV_PASSWORD=gordon",
        ]

    def test_a_range_of_two_protocols_ends_under_the_wrong_name(self) -> None:
        """As seen on 20.10."""
        told = lines("engine27", "/web/my.db-1", CHILD, "53/udp 80/tcp 81/tcp 82/udp")
        assert told[:7] == [
            f"MY.DB_1_PORT=udp://{CHILD}:53",
            f"MY.DB_1_PORT_80_TCP_START=tcp://{CHILD}:80",
            f"MY.DB_1_PORT_80_TCP_ADDR={CHILD}",
            "MY.DB_1_PORT_80_TCP_PROTO=tcp",
            "MY.DB_1_PORT_80_TCP_PORT_START=80",
            f"MY.DB_1_PORT_80_UDP_END=udp://{CHILD}:82",
            "MY.DB_1_PORT_80_UDP_PORT_END=82",
        ]
        assert len(told) == 7 + 4 * 4 + 1

    def test_two_in_a_row_are_no_range(self) -> None:
        assert not [each for each in lines("engine27", "/w/d", CHILD, "80 81") if "_START" in each]

    def test_equal_numbers_count_as_two(self) -> None:
        told = lines("engine27", "/w/d", CHILD, "55/tcp 53/udp 53/tcp")
        assert f"D_PORT_53_TCP_END=tcp://{CHILD}:55" in told

    def test_two_ranges(self) -> None:
        told = lines("engine27", "/w/d", CHILD, "1 2 3 10 11 12 20")
        assert [each for each in told if "_PORT_END" in each] == [
            "D_PORT_1_TCP_PORT_END=3",
            "D_PORT_10_TCP_PORT_END=12",
        ]


class TestEngine28:
    def test_order_of_ports(self) -> None:
        exposed = "6379/tcp 6376/udp 6380/tcp 6376/sctp 6381/tcp 6381/udp 6375/udp 6375/sctp"
        told = variables("engine28", "/w/d", CHILD, exposed.split())
        assert [value for key, value in told if key.count("_") == 3] == [
            f"tcp://{CHILD}:6379",
            f"tcp://{CHILD}:6380",
            f"tcp://{CHILD}:6381",
            f"sctp://{CHILD}:6375",
            f"sctp://{CHILD}:6376",
            f"udp://{CHILD}:6375",
            f"udp://{CHILD}:6376",
            f"udp://{CHILD}:6381",
        ]
        assert told[0] == ("D_PORT", f"tcp://{CHILD}:6379")

    def test_many_ports(self) -> None:
        exposed = "6300/udp 6379/tcp 6380/tcp 6381/tcp 6382/udp"
        told = lines("engine28", "/db/docker", CHILD, exposed, "PASSWORD=gordon")
        assert sorted(told) == sorted(
            [
                "DOCKER_ENV_PASSWORD=gordon",
                "DOCKER_NAME=/db/docker",
                f"DOCKER_PORT=tcp://{CHILD}:6379",
                *port("DOCKER", 6300, "udp"),
                *port("DOCKER", 6379, "tcp"),
                *port("DOCKER", 6380, "tcp"),
                *port("DOCKER", 6381, "tcp"),
                *port("DOCKER", 6382, "udp"),
                *RANGE_OF_THREE,
            ]
        )

    def test_the_order_of_lines_as_seen_on_28(self) -> None:
        env = ("M=l1\nl2", "E=", "A=b=c")
        told = lines("engine28", "/web/my.db-1", CHILD, "53/udp 80/tcp 81/tcp 82/udp", *env)
        assert told == [
            f"MY.DB_1_PORT=tcp://{CHILD}:80",
            *port("MY.DB_1", 80, "tcp"),
            *port("MY.DB_1", 81, "tcp"),
            *port("MY.DB_1", 53, "udp"),
            f"MY.DB_1_PORT_80_TCP_START=tcp://{CHILD}:80",
            "MY.DB_1_PORT_80_TCP_PORT_START=80",
            f"MY.DB_1_PORT_80_TCP_END=tcp://{CHILD}:81",
            "MY.DB_1_PORT_80_TCP_PORT_END=81",
            *port("MY.DB_1", 82, "udp"),
            "MY.DB_1_NAME=/web/my.db-1",
            "MY.DB_1_ENV_M=l1\nl2",
            "MY.DB_1_ENV_E=",
            "MY.DB_1_ENV_A=b=c",
        ]

    def test_a_range_that_ends_the_list(self) -> None:
        told = lines("engine28", "/w/d", CHILD, "80 81 82")
        assert told[-2:] == ["D_PORT_80_TCP_PORT_END=82", "D_NAME=/w/d"]

    def test_protocols_are_ranges_of_their_own(self) -> None:
        told = lines("engine28", "/w/d", CHILD, "80/tcp 81/sctp 82/udp")
        assert not [each for each in told if "_START" in each]


@pytest.mark.parametrize(
    "text", ["", "x", "80-82/tcp", "/tcp", "80/", "80/t p", "-1/tcp", "\u0661", "65536/tcp"]
)
def test_what_is_no_port_has_no_variables(text: str) -> None:
    assert variables("documented", "/w/d", CHILD, [text]) == [("D_NAME", "/w/d")]


class TestToldOf:
    def link(self, label: str = "db", **labels: str) -> Link:
        world = World(network("back", v6=True))
        world.add(container("db"), back="10.0.0.2 fd00::2")
        labels |= {"relinkd.links": label}
        world.add(container("web", labels=labels), back="10.0.0.9")
        return world.link("web")

    def test_ipv4_where_there_are_both(self) -> None:
        told = reached_at(self.link())
        assert told is not None
        assert (told[0].name, told[1]) == ("db", "10.0.0.2")

    def test_the_family_that_is_asked_for(self) -> None:
        told = reached_at(self.link(**{"relinkd.family": "6"}))
        assert told is not None
        assert told[1] == "fd00::2"

    def test_nobody_where_the_link_does_not_stand(self) -> None:
        assert reached_at(self.link("nobody")) is None

    def test_the_first_of_replicas(self) -> None:
        world = World(network("back"))
        for number, address in ((2, "10.0.0.2"), (1, "10.0.0.3")):
            one = container(f"db-{number}", labels=compose("shop", "db", number))
            world.add(one, back=address)
        world.add(container("web", "shop/db"), back="10.0.0.9")
        told = reached_at(world.link("web"))
        assert told is not None
        assert (told[0].name, told[1]) == ("db-1", "10.0.0.3")


class TestWritten:
    @pytest.mark.parametrize(
        ("value", "line"),
        [
            ("tcp://10.0.0.2:80", "A=tcp://10.0.0.2:80"),
            ("tcp://[fd00::2]:80", "A=tcp://[fd00::2]:80"),
            ("", "A="),
            ("two words", "A=two words"),
            (" led", "A=' led'"),
            ("trailed ", "A='trailed '"),
            ("$HOME", "A='$HOME'"),
            ("a #b", "A='a #b'"),
            ("#a", "A='#a'"),
            ('say "hi"', "A='say \"hi\"'"),
            ("it's", 'A="it\'s"'),
            ("1\n2", "A='1\n2'"),
        ],
    )
    def test_dotenv(self, value: str, line: str) -> None:
        assert written("dotenv", [("A", value)]).lines == (line,)

    @pytest.mark.parametrize("value", ["a\\", "it's $5", "'\"", "\r", "`it's`"])
    def test_what_readers_of_dotenv_disagree_on_is_left_out(self, value: str) -> None:
        done = written("dotenv", [("A", value), ("B", "b")])
        assert (done.lines, done.left_out) == (("B=b",), ("A",))

    @pytest.mark.parametrize(
        ("value", "line"),
        [
            ("tcp://10.0.0.2:80", "export A='tcp://10.0.0.2:80'"),
            ("it's", "export A='it'\\''s'"),
            ("$(reboot)\n`x`\\", "export A='$(reboot)\n`x`\\'"),
        ],
    )
    def test_export(self, value: str, line: str) -> None:
        assert written("export", [("A", value)]).lines == (line,)

    @pytest.mark.parametrize(
        "name", ["MY.DB_NAME", "1DB_NAME", "DÉ", "A\nreboot;B", "A B", "", "A=b"]
    )
    def test_what_no_shell_takes_is_left_out_once(self, name: str) -> None:
        done = written("export", [(name, "1"), ("A", "2"), (name, "3")])
        assert (done.lines, done.left_out) == (("export A='2'",), (name,))

    def test_a_long_value_is_read_in_no_time(self) -> None:
        value = "x " * 10_000 + "#"
        assert written("dotenv", [("A", value)]).lines == (f"A='{value}'",)

    def test_a_dot_is_a_dotenv_name(self) -> None:
        assert written("dotenv", [("MY.DB_NAME", "x")]).lines == ("MY.DB_NAME=x",)
