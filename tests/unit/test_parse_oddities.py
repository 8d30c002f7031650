"""What is odd in an answer, one thing at a time."""

import pytest

from tests.unit.recorded import dumped
from watchers.model import Endpoint, EngineLink
from watchers.parse import (
    ICC,
    parse_event,
    parse_inspected,
    parse_list,
    parse_network,
    parse_network_ids,
    parse_offer,
)


class TestOddities:
    def test_a_variable_of_any_length_is_whole(self) -> None:
        entry = "CERTIFICATE=" + "x" * 100_000
        found = parse_offer(dumped({"Id": "a", "Config": {"Env": [entry, None, 7]}}))
        assert found is not None
        assert found.env == (entry,)

    def test_a_port_published_twice(self) -> None:
        bindings = [{"HostIp": "0.0.0.0", "HostPort": "80"}, {"HostIp": "::", "HostPort": "80"}, 7]
        value = {"Id": "a", "NetworkSettings": {"Ports": {"80/tcp": bindings, "53/udp": None}}}
        found = parse_offer(dumped(value))
        assert found is not None
        assert found.published == {"80/tcp": (("0.0.0.0", "80"), ("::", "80"))}

    def test_a_health_check_switched_off_is_none(self) -> None:
        for test, wanted in ((["NONE"], False), ([], False), (["CMD", "x"], True)):
            value = {"Id": "a", "Config": {"Healthcheck": {"Test": test}}}
            found = parse_inspected(dumped(value))
            assert found is not None
            assert found.detail is not None
            assert found.detail.has_healthcheck is wanted

    @pytest.mark.parametrize(
        ("text", "wanted"),
        [
            ("/db:/web/webdb", EngineLink("db", "webdb")),
            ("db:webdb", EngineLink("db", "webdb")),
            ("/db:/web/a/b", EngineLink("db", "b")),
            ("/db", None),
            (":/web/x", None),
            ("/db:/web/", None),
            ("", None),
        ],
    )
    def test_engine_links(self, text: str, wanted: EngineLink | None) -> None:
        found = parse_inspected(dumped({"Id": "a", "HostConfig": {"Links": [text, 5, None]}}))
        assert found is not None
        assert found.detail is not None
        assert found.detail.links == ((wanted,) if wanted else ())

    @pytest.mark.parametrize(
        ("names", "wanted"),
        [
            (["/web/webdb", "/db"], "db"),
            (["/a/b"], "a/b"),
            (["db"], "db"),
            ([], ""),
            (None, ""),
        ],
    )
    def test_own_name(self, names: object, wanted: str) -> None:
        (found,) = parse_list(dumped([{"Id": "a", "Names": names}])) or ()
        assert found.name == wanted

    def test_an_endpoint_without_an_address_is_none_yet(self) -> None:
        empty = {"IPv4Address": "", "IPv6Address": ""}
        value = {"Id": "n", "Containers": {"a" * 64: empty, "b" * 64: {}}}
        assert parse_network(dumped(value)) is not None
        assert (parse_network(dumped(value)) or (None, None, None))[1] == {}

    def test_only_containers_have_endpoints(self) -> None:
        """A load balancer of Swarm's, and what is reserved for a container that is not there."""
        member = {"Name": "x", "IPv4Address": "10.0.1.2/24"}
        keys = ["lb-ov", "ep-" + "a" * 64, "a" * 63, "A" * 64, "g" * 64, "a" * 65, ""]
        value = {"Id": "n", "Containers": dict.fromkeys([*keys, "a" * 64], member)}
        parsed = parse_network(dumped(value))
        assert parsed is not None
        assert parsed[1] == {"a" * 64: Endpoint("10.0.1.2", None)}

    @pytest.mark.parametrize(
        ("options", "icc"),
        [
            (None, True),
            ({}, True),
            ({"other": "false"}, True),
            ({ICC: "true"}, True),
            ({ICC: ""}, True),
            ({ICC: "false"}, False),
            ({ICC: "False"}, False),
            ({ICC: "FALSE"}, False),
            ({ICC: "0"}, False),
            ({ICC: "false", "broken": 7}, False),
            ({ICC: False}, True),
            ({"macvlan_mode": "bridge"}, True),
            ({"macvlan_mode": "private"}, False),
            ({"ipvlan_flag": "private"}, False),
            ([], True),
        ],
    )
    def test_whether_containers_reach_each_other(self, options: object, icc: bool) -> None:
        parsed = parse_network(dumped({"Id": "n", "Options": options}))
        assert parsed is not None
        assert parsed[0].icc is icc

    @pytest.mark.parametrize(
        ("options", "gateways"),
        [
            ({}, ("10.0.0.1", "fd00::1")),
            ({"com.docker.network.bridge.gateway_mode_ipv4": "routed"}, ("10.0.0.1", "fd00::1")),
            ({"com.docker.network.bridge.gateway_mode_ipv4": "isolated"}, ("fd00::1",)),
            ({"com.docker.network.bridge.gateway_mode_ipv6": "isolated"}, ("10.0.0.1",)),
            ({"com.docker.network.bridge.inhibit_ipv4": "true"}, ("fd00::1",)),
            ({"com.docker.network.bridge.inhibit_ipv4": "false"}, ("10.0.0.1", "fd00::1")),
        ],
    )
    def test_gateways_that_the_host_has(self, options: object, gateways: tuple[str, ...]) -> None:
        pools = [{"Subnet": "10.0.0.0/24"}, {"Subnet": "fd00::/64"}]
        body = dumped({"Id": "n", "Options": options, "IPAM": {"Config": pools}})
        parsed = parse_network(body)
        assert parsed is not None
        assert parsed[0].gateways == gateways

    def test_a_network_of_a_swarm(self) -> None:
        value = {
            "Id": "k1mzs4vm7b3u1rpx9qo0d8y2e",
            "Name": "ingress",
            "Scope": "swarm",
            "Driver": "overlay",
            "Ingress": True,
            "IPAM": {"Config": [{"Subnet": "10.0.0.0/24", "Gateway": "10.0.0.1"}]},
        }
        parsed = parse_network(dumped(value))
        assert parsed is not None
        network, _, _ = parsed
        assert (network.id, network.scope) == ("k1mzs4vm7b3u1rpx9qo0d8y2e", "swarm")
        assert (network.ingress, network.icc) == (True, True)
        assert network.subnets == ("10.0.0.0/24",)
        assert parse_network_ids(dumped([value])) == frozenset({network.id})

    def test_what_podman_says_otherwise(self) -> None:
        """Names without a slash, null for empty maps, times in the host's zone."""
        (web,) = (
            parse_list(
                dumped(
                    [
                        {
                            "Id": "a" * 64,
                            "Names": ["web"],
                            "Labels": None,
                            "Mounts": None,
                            "NetworkSettings": None,
                            "HostConfig": {"NetworkMode": "bridge"},
                            "State": "running",
                            "ImageID": "sha256:0",
                            "Pod": "",
                        }
                    ]
                )
            )
            or ()
        )
        assert (web.id, web.name, web.labels, web.networks) == ("a" * 64, "web", {}, ())
        found = parse_inspected(
            dumped(
                {
                    "Id": "a" * 64,
                    "Name": "web",
                    "Created": "2026-11-24T05:14:35.14+02:00",
                    "State": {"Status": "running", "StartedAt": "2026-11-24T05:14:36+02:00"},
                    "Config": {"Labels": None, "Healthcheck": None},
                    "HostConfig": {"Links": None},
                    "NetworkSettings": {"Networks": {"podman": None}},
                }
            )
        )
        assert found is not None
        assert found.name == "web"
        assert found.created == 1795490075_140000000
        assert found.started == 1795490076_000000000

    def test_addresses_are_canonical_and_nothing_else(self) -> None:
        said = {"IPv4Address": "10.0.0.2/16", "IPv6Address": "FD00:0:0::0002/64"}
        odd = {"IPv4Address": "10.0.0.2 evil", "IPv6Address": "fe80::1%e h\n/64"}
        parsed = parse_network(dumped({"Id": "n", "Containers": {"a" * 64: said, "b" * 64: odd}}))
        assert parsed is not None
        assert parsed[1] == {"a" * 64: Endpoint("10.0.0.2", "fd00::2")}

    def test_started_never_is_zero(self) -> None:
        for text in ("0001-01-01T00:00:00Z", "", "yesterday", "2026-01-01T00:00:00.12x4Z"):
            found = parse_inspected(dumped({"Id": "a", "State": {"StartedAt": text}}))
            assert found is not None
            assert found.started == 0

    def test_two_of_one_second_still_sort(self) -> None:
        first, second = (
            parse_inspected(dumped({"Id": "a", "Created": f"2026-11-24T03:14:35.{fraction}Z"}))
            for fraction in ("14", "140000001")
        )
        assert first is not None
        assert second is not None
        assert second.created - first.created == 1

    @pytest.mark.parametrize("kind", ["image", "volume", "daemon", "", None, 5])
    def test_events_of_others_are_none_of_ours(self, kind: object) -> None:
        assert parse_event(dumped({"Type": kind, "Action": "x", "Actor": {"ID": "a"}})) is None

    @pytest.mark.parametrize(
        ("line", "wanted"),
        [
            (b'{"message":"going down"}', "going down"),
            (b'{"message":null,"errorDetail":{}}', "no reason given"),
            (b'{"message":7}', "no reason given"),
            (b'{"Type":null,"message":"x"}', None),
            (b'{"Type":"container","message":"x"}', None),
            (b"{", None),
            (b"", None),
            (b"[" * 100_000, None),
        ],
        ids=range(8),
    )
    def test_an_error_in_place_of_an_event(self, line: bytes, wanted: str | None) -> None:
        assert parse_event(line) == wanted

    def test_only_the_new_fields_are_read(self) -> None:
        assert parse_event(dumped({"status": "start", "id": "a", "from": "busybox"})) is None
