"""What relinkd writes into a store, and what it makes of anything that stands there."""

from __future__ import annotations

import json
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import container
from watchers.model import (
    COMPOSE_NUMBER,
    COMPOSE_PROJECT,
    COMPOSE_SERVICE,
    Endpoint,
    ForeignNetwork,
    Host,
)
from watchers.record import (
    BadRecordError,
    ContainerKey,
    ContainerRecord,
    HostRecord,
    OnNetwork,
    container_keys,
    container_of,
    encode,
    host_of,
    read_container,
    read_host,
    wanted,
)

PREFIX = "/relinkd"
DB = ContainerKey("node-b", "shop-db-1", None)
RECORD = ContainerRecord(
    "running",
    project="shop",
    service="db",
    number="1",
    created=1,
    started=2,
    healthcheck=True,
    health="healthy",
    networks=(OnNetwork("a1", "routed", ipv4="10.28.2.2", ipv6="fd00::2", problem="icc"),),
    exposed=("5432/tcp",),
    published={"5432/tcp": (("0.0.0.0", "5432"),)},
)


class TestKeys:
    def test_a_container_of_compose_has_two(self) -> None:
        labels = {COMPOSE_PROJECT: "shop", COMPOSE_SERVICE: "db"}
        keys = [*container_keys(PREFIX, "node-b", container("shop-db-1", labels=labels))]
        assert keys == [
            "/relinkd/names/shop-db-1/node-b",
            "/relinkd/services/shop/db/node-b/shop-db-1",
        ]
        assert [container_of(PREFIX, key) for key in keys] == [
            ContainerKey("node-b", "shop-db-1", None),
            ContainerKey("node-b", "shop-db-1", ("shop", "db")),
        ]
        assert keys[0].startswith(wanted(PREFIX, ("name", "shop-db-1")))
        assert keys[1].startswith(wanted(PREFIX, ("service", "shop", "db")))

    @pytest.mark.parametrize("service", ["a/b", "", "x" * 300, "-x", "x\n"])
    def test_a_service_that_no_key_can_hold_has_none(self, service: str) -> None:
        labels = {COMPOSE_PROJECT: "shop", COMPOSE_SERVICE: service}
        keys = [*container_keys(PREFIX, "node-b", container("db", labels=labels))]
        assert keys == ["/relinkd/names/db/node-b"]

    def test_a_name_is_not_the_beginning_of_another(self) -> None:
        assert not "/relinkd/names/db2/node-b".startswith(wanted(PREFIX, ("name", "db")))

    @pytest.mark.parametrize(
        "key",
        [
            "/relinkd/names/db",
            "/relinkd/names/db/node-b/more",
            "/relinkd/names//node-b",
            "/relinkd/services/shop/db/node-b",
            "/relinkd/hosts/node-b",
            "/relinkd/names/d b/node-b",
            "/relinkd/names/db/node-b\n",
            "/other/names/db/node-b",
        ],
    )
    def test_others_are_nobodys(self, key: str) -> None:
        with pytest.raises(BadRecordError):
            container_of(PREFIX, key)

    @pytest.mark.parametrize("key", ["/relinkd/hosts/", "/relinkd/hosts/a/b", "/relinkd/hosts/a b"])
    def test_other_hosts_are_nobodys(self, key: str) -> None:
        with pytest.raises(BadRecordError):
            host_of(PREFIX, key)


class TestContainers:
    def test_all_that_is_written_is_read(self) -> None:
        found = read_container(DB, encode(RECORD))
        of = found.container
        assert (of.id, of.name, of.host) == ("node-b//shop-db-1", "shop-db-1", "node-b")
        assert of.service == ("shop", "db")
        assert of.labels[COMPOSE_NUMBER] == "1"
        assert (of.state, of.created, of.started) == ("running", 1, 2)
        assert of.detail is not None
        assert of.detail.has_healthcheck
        assert of.detail.health == "healthy"
        assert found.endpoints == {"a1": Endpoint("10.28.2.2", "fd00::2")}
        problem = "has inter-container communication off"
        assert found.networks == {"a1": ForeignNetwork("routed", "local", problem)}
        assert found.exposed == ("5432/tcp",)
        assert found.published == {"5432/tcp": (("0.0.0.0", "5432"),)}

    def test_health_that_is_not_known_stays_unknown(self) -> None:
        assert read_container(DB, encode(ContainerRecord("exited"))).container.detail is None

    def test_a_later_relinkd_may_say_more(self) -> None:
        value = json.dumps({**json.loads(encode(RECORD)), "colour": ["blue"]}).encode()
        assert read_container(DB, value) == read_container(DB, encode(RECORD))

    def test_another_version_is_said(self) -> None:
        with pytest.raises(BadRecordError, match="version 2 of the records"):
            read_container(DB, b'{"v":2,"state":{"new":"shape"}}')

    def test_the_key_of_another_service(self) -> None:
        with pytest.raises(BadRecordError, match="not those of its key"):
            read_container(ContainerKey("node-b", "shop-db-1", ("shop", "web")), encode(RECORD))

    @pytest.mark.parametrize(
        "change",
        [
            {"state": "happy"},
            {"state": None},
            {"project": "a/b"},
            {"service": "x\n"},
            {"number": "-1"},
            {"started": -1},
            {"started": 2**64},
            {"mode": "container:x"},
            {"health": "fine"},
            {"healthcheck": "yes"},
            {"exposed": ["5432"]},
            {"exposed": ["1/tcp"] * 2001},
            {"published": {"x": []}},
            {"published": {"1/tcp": [["0.0.0.0", "0"]]}},
            {"published": {"1/tcp": [["0.0.0.0", "65536"]]}},
            {"published": {"1/tcp": [["host", "1"]]}},
            {"networks": [{"id": "a", "name": "a"}] * 65},
            {"networks": [{"id": "../a", "name": "a"}]},
            {"networks": [{"id": "a", "name": "a\tb"}]},
            {"networks": [{"id": "a", "name": "a", "problem": "\x1b[31m"}]},
            *(
                {"networks": [{"id": "a", "name": "a", "ipv4": address}]}
                for address in (
                    "db",
                    "10.0.0.1 evil",
                    "127.0.0.1",
                    "0.0.0.0",
                    "255.255.255.255",
                    "224.0.0.1",
                    "169.254.169.254",
                    "240.0.0.1",
                    "fd00::1",
                )
            ),
            *(
                {"networks": [{"id": "a", "name": "a", "ipv6": address}]}
                for address in ("::1", "::", "fe80::1", "fd00::1%lo", "::ffff:10.0.0.1", "10.0.0.1")
            ),
        ],
        ids=str,
    )
    def test_what_no_relinkd_writes_is_refused(self, change: dict[str, Any]) -> None:
        value = json.dumps({**json.loads(encode(RECORD)), **change}).encode()
        with pytest.raises(BadRecordError):
            read_container(DB, value)

    @pytest.mark.parametrize(
        "value",
        [b"", b"null", b"[]", b"nonsense", b'"x"', b"\xff\xfe", b"[" * 100_000, b" " * 70_000],
    )
    def test_no_record_at_all(self, value: bytes) -> None:
        with pytest.raises(BadRecordError):
            read_container(DB, value)

    @given(
        field=st.sampled_from(sorted(json.loads(encode(RECORD)))),
        value=st.recursive(
            st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
            max_leaves=5,
        ),
    )
    def test_any_value_is_read_or_refused(self, field: str, value: object) -> None:
        try:
            found = read_container(
                DB, json.dumps({**json.loads(encode(RECORD)), field: value}).encode()
            )
        except BadRecordError:
            return
        for endpoint in found.endpoints.values():
            for address in filter(None, (endpoint.ipv4, endpoint.ipv6)):
                assert not ip_address(address).is_loopback


class TestHosts:
    def test_all_that_is_written_is_read(self) -> None:
        record = HostRecord(
            "1.0",
            machine="ab-cd",
            since="2026-01-01T00:00:00+00:00",
            addresses=("10.0.0.1",),
            routed=("net", "10.28.0.0/16"),
        )
        found = read_host("node-b", encode(record))
        assert found == (record, Host("node-b", ("10.0.0.1",), ("net", "10.28.0.0/16")))

    @pytest.mark.parametrize(
        "change",
        [
            {"relinkd": 1},
            {"relinkd": "\x1b[31m"},
            {"addresses": ["nowhere"]},
            {"addresses": ["127.0.0.1"]},
            {"routed": ["10.28.0.1/16"]},
            {"routed": ["a b"]},
            {"routed": [""]},
        ],
        ids=str,
    )
    def test_what_no_relinkd_writes_is_refused(self, change: dict[str, Any]) -> None:
        value = json.dumps({"relinkd": "1.0", **change}).encode()
        with pytest.raises(BadRecordError):
            read_host("node-b", value)
