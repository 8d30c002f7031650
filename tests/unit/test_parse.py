"""Engine JSON to model: what four generations said, and what none should say."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.builders import patient
from watchers.model import Container, Endpoint, EngineLink, Hint, Offer
from watchers.parse import (
    parse_event,
    parse_inspected,
    parse_list,
    parse_listed,
    parse_network,
    parse_network_ids,
    parse_offer,
)

FIXTURES = Path(__file__).parents[1] / "fixtures"
GENERATIONS = ("20.10.24", "26.1.5", "28.5.2", "29.7.2")

# Not by their whole version: that is the mark of a test on a real engine.
IDS = [f"recorded-{each.partition('.')[0]}" for each in GENERATIONS]
generation = pytest.mark.parametrize("generation", GENERATIONS, ids=IDS)


def said(generation: str, name: str) -> Any:
    return json.loads((FIXTURES / generation / f"{name}.json").read_text("utf-8"))


def inspected(generation: str, name: str) -> Container:
    found = parse_inspected(said(generation, name))
    assert found is not None
    return found


def events(generation: str) -> list[Hint]:
    lines = (FIXTURES / generation / "events.jsonl").read_text("utf-8").splitlines()
    return [hint for line in lines if (hint := parse_event(json.loads(line)))]


@generation
class TestList:
    def test_names_labels_states(self, generation: str) -> None:
        found = {each.name: each for each in parse_list(said(generation, "list"))}
        assert found.keys() == {"web", "db"}
        assert found["web"].labels == {"relinkd.links": "db:other"}
        assert found["db"].service == ("shop", "db")
        assert {each.state for each in found.values()} == {"running"}
        assert found["web"].networks == ("bridge",)
        assert found["web"].detail is None

    def test_the_extra_names_of_a_linked_source_are_not_its_own(self, generation: str) -> None:
        names = [item["Names"] for item in said(generation, "list-db-exited")]
        assert ["/db", "/web2/webdb"] in names
        assert {each.name for each in parse_list(said(generation, "list-db-exited"))} == {
            "api",
            "web2",
            "db",
        }

    def test_states_and_networks_later(self, generation: str) -> None:
        found = {each.name: each for each in parse_list(said(generation, "list-db-exited"))}
        assert {name: each.state for name, each in found.items()} == {
            "api": "running",
            "web2": "running",
            "db": "exited",
        }
        assert set(found["web2"].networks) == {"bridge", "front"}
        assert found["api"].networks == ("back",)
        assert found["api"].network_mode == "back"

    def test_created_in_the_unit_of_an_inspect(self, generation: str) -> None:
        (db,) = (each for each in parse_list(said(generation, "list")) if each.name == "db")
        exact = inspected(generation, "inspect-db").created
        assert db.created == exact // 10**9 * 10**9


@generation
class TestInspect:
    def test_engine_links(self, generation: str) -> None:
        web = inspected(generation, "inspect-web")
        assert web.name == "web"
        assert web.detail is not None
        assert web.detail.links == (EngineLink("db", "webdb"),)
        assert web.detail.hostname == web.id[:12]
        assert web.detail.hosts_path == f"/var/lib/docker/containers/{web.id}/hosts"
        assert (web.detail.has_healthcheck, web.detail.health) == (False, None)

    def test_endpoint_links_aliases_and_health(self, generation: str) -> None:
        api = inspected(generation, "inspect-api")
        assert api.detail is not None
        (back,) = api.detail.attachments
        assert (back.network, back.links, back.gw_priority) == ("back", ("db:dblink",), 0)
        assert len(back.network_id) == 64
        assert {"service", api.id[:12]} <= set(back.names)
        assert (api.detail.has_healthcheck, api.detail.health) == (True, "starting")

    def test_two_networks(self, generation: str) -> None:
        api = inspected(generation, "inspect-api-two-networks")
        assert api.detail is not None
        found = {each.network: each for each in api.detail.attachments}
        assert found.keys() == {"back", "front"} == set(api.networks)
        assert found["front"].links == ("web:w",)
        assert "second" in found["front"].names
        assert "second" not in found["back"].names

    def test_never_started(self, generation: str) -> None:
        db = inspected(generation, "inspect-db-created")
        assert (db.state, db.started) == ("created", 0)
        assert db.created > 10**18
        assert db.detail is not None
        assert db.detail.hosts_path == ""
        assert not db.running

    def test_started_to_the_nanosecond(self, generation: str) -> None:
        text = said(generation, "inspect-db")["State"]["StartedAt"]
        db = inspected(generation, "inspect-db")
        assert str(db.started % 10**9).zfill(9) == text[20:-1].ljust(9, "0")
        assert 1795490000 < db.started // 10**9 < 1795500000

    def test_a_restart_is_later(self, generation: str) -> None:
        first, second = (
            inspected(generation, name) for name in ("inspect-db", "inspect-db-exited")
        )
        assert first.id == second.id
        assert first.created == second.created
        assert first.started < second.started
        assert (first.state, second.state) == ("running", "exited")

    def test_container_mode(self, generation: str) -> None:
        kid = inspected(generation, "inspect-container-mode")
        db = inspected(generation, "inspect-db")
        assert kid.shares == db.id
        assert kid.networks == ()
        assert kid.detail is not None
        assert kid.detail.hostname == db.id[:12]
        assert db.shares is None

    def test_no_container(self, generation: str) -> None:
        assert parse_inspected(said(generation, "error-404")) is None


@generation
class TestOffer:
    def offer(self, generation: str, name: str) -> Offer:
        found = parse_offer(said(generation, name))
        assert found is not None
        return found

    def test_environment_and_exposed_ports(self, generation: str) -> None:
        db = self.offer(generation, "inspect-db")
        assert db.env == ("POSTGRES_PASSWORD=secret",)
        assert sorted(db.exposed) == ["53/udp", "5432/tcp"]
        assert (db.running, db.published) == (True, {})

    def test_published_ports_are_exposed_too(self, generation: str) -> None:
        web = self.offer(generation, "inspect-web")
        assert web.published == {"80/tcp": (("127.0.0.1", "8080"),)}
        assert web.exposed == ("80/tcp",)

    def test_null_is_none_at_all(self, generation: str) -> None:
        assert self.offer(generation, "inspect-api") == Offer(running=True)
        assert self.offer(generation, "inspect-db-created") == Offer(running=False)

    def test_a_stopped_container_publishes_nothing(self, generation: str) -> None:
        db = self.offer(generation, "inspect-db-exited")
        assert (db.running, db.published) == (False, {})
        assert db.env

    def test_secrets_are_in_no_container_and_shown_in_no_trace(self, generation: str) -> None:
        assert "secret" not in str(asdict(inspected(generation, "inspect-db")))
        db = self.offer(generation, "inspect-db")
        assert "secret" in str(asdict(db))
        assert "secret" not in repr(db)

    def test_no_container(self, generation: str) -> None:
        assert parse_offer(said(generation, "error-404")) is None


@generation
class TestNetwork:
    def test_endpoints(self, generation: str) -> None:
        parsed = parse_network(said(generation, "network-back"))
        assert parsed is not None
        network, endpoints = parsed
        api = inspected(generation, "inspect-api")
        assert endpoints == {api.id: Endpoint("172.18.0.2", "fd00:77::2")}
        assert (network.name, network.driver, network.internal) == ("back", "bridge", False)
        assert set(network.subnets) == {"172.18.0.0/16", "fd00:77::/64"}
        assert "172.18.0.1" in network.gateways
        assert network.dual_stack

    def test_default_bridge(self, generation: str) -> None:
        parsed = parse_network(said(generation, "network-bridge"))
        assert parsed is not None
        network, endpoints = parsed
        assert sorted(each.ipv4 or "" for each in endpoints.values()) == [
            "172.17.0.2",
            "172.17.0.3",
        ]
        assert {each.ipv6 for each in endpoints.values()} == {None}
        assert not network.dual_stack

    def test_no_network(self, generation: str) -> None:
        assert parse_network(said(generation, "error-404")) is None


@generation
class TestEvents:
    def test_all_of_them(self, generation: str) -> None:
        lines = (FIXTURES / generation / "events.jsonl").read_text("utf-8").splitlines()
        assert len(events(generation)) == len(lines)

    def test_connect_says_who_and_where(self, generation: str) -> None:
        first = next(hint for hint in events(generation) if hint.action == "connect")
        assert first.container == inspected(generation, "inspect-db").id
        (_, endpoints) = parse_network(said(generation, "network-bridge")) or (None, {})
        assert first.container in endpoints
        assert first.time_ns > 10**18

    def test_create_brings_name_and_labels(self, generation: str) -> None:
        found = [h for h in events(generation) if h.action == "create" and h.container]
        assert [hint.name for hint in found] == ["db", "web", "api", "kid", "db"]
        assert found[1].labels["relinkd.links"] == "db:other"
        assert found[0].labels["com.docker.compose.service"] == "db"

    def test_a_networks_create_is_no_containers(self, generation: str) -> None:
        found = [h for h in events(generation) if h.action == "create" and h.network]
        assert len(found) == 2
        assert {hint.container for hint in found} == {""}

    def test_rename(self, generation: str) -> None:
        (hint,) = (hint for hint in events(generation) if hint.action == "rename")
        assert (hint.old_name, hint.name) == ("web", "web2")

    def test_health(self, generation: str) -> None:
        (hint,) = (h for h in events(generation) if h.action.startswith("health_status"))
        assert hint.action == "health_status: healthy"
        assert hint.container == inspected(generation, "inspect-api").id

    def test_connect_precedes_start(self, generation: str) -> None:
        db = inspected(generation, "inspect-db").id
        actions = [h.action for h in events(generation) if h.container == db]
        assert actions[:3] == ["create", "connect", "start"]


# -- what no engine should say --------------------------------------------------------------------

WHOLE = {
    "list": said("28.5.2", "list")[1],
    "inspect": said("28.5.2", "inspect-api-two-networks"),
    "offer": said("28.5.2", "inspect-db"),
    "legacy": said("28.5.2", "inspect-web"),
    "network": said("28.5.2", "network-back"),
    "event": {
        "Type": "container",
        "Action": "rename",
        "Actor": {"ID": "a" * 64, "Attributes": {"name": "x", "oldName": "/y"}},
        "timeNano": 1,
    },
}
READ = {
    "Id",
    "Name",
    "Names",
    "Labels",
    "Created",
    "State",
    "Status",
    "StartedAt",
    "Health",
    "HostConfig",
    "NetworkMode",
    "Links",
    "Config",
    "Hostname",
    "Healthcheck",
    "Test",
    "HostsPath",
    "Env",
    "ExposedPorts",
    "Ports",
    "53/udp",
    "80/tcp",
    "HostIp",
    "HostPort",
    "Running",
    "Mounts",
    "NetworkSettings",
    "Networks",
    "back",
    "NetworkID",
    "Aliases",
    "DNSNames",
    "GwPriority",
    "Driver",
    "Internal",
    "IPAM",
    "Containers",
    "IPv4Address",
    "IPv6Address",
    "Subnet",
    "Gateway",
    "Type",
    "Action",
    "Actor",
    "ID",
    "Attributes",
    "timeNano",
}
junk = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([10**400, -(10**30), 0, -1])
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(
        [
            "x" * 100_000,
            "\0",
            "\n",
            "/",
            "//",
            "/a/b",
            ":",
            "a:b:c",
            "/db:/web/",
            "\ud800",
            "fe80::1%eth0",
            "1.2.3.4/33",
            "0.0.0.0",
            "256.1.1.1",
            "2026-13-45T99:99:99.123456789Z",
            "9999-12-31T23:59:59.999999999Z",
            "0001-01-01T00:00:00Z",
            "2026-01-01T00:00:00.\u0661Z",
            "NONE",
        ]
    ),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=5) | st.sampled_from(sorted(READ)), inner, max_size=4)
    ),
    max_leaves=8,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place below a value that may be read."""
    found = [path] if path else []
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in READ or len(key) == 64:
                found += places(inner, (*path, key))
    if isinstance(value, list):
        for at, inner in enumerate(value):
            found += places(inner, (*path, at))
    return found


PLACES = [(kind, path) for kind, whole in WHOLE.items() for path in places(whole)]
MISSING = object()


@st.composite
def broken(draw: st.DrawFn) -> Any:
    """An answer with one or two places missing, null, or of another type."""
    kind = draw(st.sampled_from(sorted(WHOLE)))
    value = json.loads(json.dumps(WHOLE[kind]))
    paths = [path for one, path in PLACES if one == kind]
    for path in draw(st.lists(st.sampled_from(paths), min_size=1, max_size=2)):
        new = draw(st.just(MISSING) | st.none() | junk)
        holder = value
        for key in path[:-1]:
            known = key in holder if isinstance(holder, dict) else False
            if not known and not (isinstance(holder, list) and isinstance(key, int)):
                break
            if isinstance(holder, list) and key >= len(holder):
                break
            holder = holder[key]
        else:
            put(holder, path[-1], new)
    return value


def put(holder: Any, key: Any, new: object) -> None:
    if isinstance(holder, list) and isinstance(key, int) and key < len(holder):
        holder[key] = None if new is MISSING else new
    elif isinstance(holder, dict):
        holder.pop(key, None)
        if new is not MISSING:
            holder[key] = new


def check_text(value: object) -> None:
    assert isinstance(value, str)
    assert len(value) <= 4096


def check_container(found: Container | None) -> None:
    """Every field is of its type, whatever was said."""
    if found is None:
        return
    for text in (found.id, found.name, found.state, found.network_mode, *found.mounts):
        check_text(text)
    assert found.id
    assert all(isinstance(x, str) for pair in found.labels.items() for x in pair)
    assert type(found.created) is int
    assert type(found.started) is int
    assert found.started >= 0
    assert all(isinstance(each, str) for each in found.networks)
    hash(found.shares)
    hash(found.service)
    assert isinstance(found.running, bool)
    if (detail := found.detail) is None:
        return
    check_text(detail.hostname)
    check_text(detail.hosts_path)
    assert type(detail.has_healthcheck) is bool
    assert detail.health is None or detail.health
    for link in detail.links:
        check_text(link.source)
        assert link.source
        assert link.alias
    for attachment in detail.attachments:
        assert type(attachment.gw_priority) is int
        for text in (attachment.network_id, *attachment.links, *attachment.names):
            check_text(text)


def check_offer(found: Offer | None) -> None:
    if found is None:
        return
    assert type(found.running) is bool
    assert all(isinstance(each, str) for each in (*found.env, *found.exposed))
    for port, bindings in found.published.items():
        assert isinstance(port, str)
        assert bindings
        for address, at in bindings:
            check_text(address)
            check_text(at)
            assert at


def read_all(value: Any) -> None:
    check_container(parse_listed(value))
    check_offer(parse_offer(value))
    check_container(parse_inspected(value))
    for each in (*parse_list(value), *parse_list([value, value])):
        check_container(each)
    for each_id in (*parse_network_ids(value), *parse_network_ids([value])):
        check_text(each_id)
    if parsed := parse_network(value):
        network, endpoints = parsed
        assert network.id
        assert type(network.internal) is bool
        assert isinstance(network.dual_stack, bool)
        for endpoint in endpoints.values():
            assert endpoint.ipv4 or endpoint.ipv6
            assert all("/" not in each for each in (endpoint.ipv4, endpoint.ipv6) if each)
    if hint := parse_event(value):
        assert hint.action
        assert hint.container or hint.network
        assert type(hint.time_ns) is int
        assert all(isinstance(x, str) for pair in hint.labels.items() for x in pair)


class TestNeverRaises:
    @patient()
    @given(junk)
    @example({"Type": "network", "Action": "connect", "Actor": {"ID": "n", "Attributes": None}})
    @example({"Id": "x", "Config": {"Healthcheck": {"Test": [None]}}})
    @example({"Id": "x", "Config": {"Healthcheck": {"Test": {}}}})
    @example([[], {}, None, 1])
    def test_junk(self, value: Any) -> None:
        read_all(value)

    @patient(max_examples=300)
    @given(broken())
    def test_an_answer_with_a_field_missing_null_or_of_another_type(self, value: Any) -> None:
        read_all(value)

    @pytest.mark.parametrize("kind", sorted(WHOLE))
    @pytest.mark.parametrize(
        "new",
        [MISSING, None, True, [], {}, "", "x" * 100_000, 10**400, 1.5],
        ids=["missing", "null", "true", "list", "dict", "empty", "long", "huge", "float"],
    )
    def test_every_single_field(self, kind: str, new: object) -> None:
        for path in (path for one, path in PLACES if one == kind):
            value = json.loads(json.dumps(WHOLE[kind]))
            holder = value
            for key in path[:-1]:
                holder = holder[key]
            put(holder, path[-1], new)
            read_all(value)


class TestOddities:
    def test_a_variable_of_any_length_is_whole(self) -> None:
        entry = "CERTIFICATE=" + "x" * 100_000
        found = parse_offer({"Id": "a", "Config": {"Env": [entry, None, 7]}})
        assert found is not None
        assert found.env == (entry,)

    def test_a_port_published_twice(self) -> None:
        bindings = [{"HostIp": "0.0.0.0", "HostPort": "80"}, {"HostIp": "::", "HostPort": "80"}, 7]
        value = {"Id": "a", "NetworkSettings": {"Ports": {"80/tcp": bindings, "53/udp": None}}}
        found = parse_offer(value)
        assert found is not None
        assert found.published == {"80/tcp": (("0.0.0.0", "80"), ("::", "80"))}

    def test_a_health_check_switched_off_is_none(self) -> None:
        for test, wanted in ((["NONE"], False), ([], False), (["CMD", "x"], True)):
            value = {"Id": "a", "Config": {"Healthcheck": {"Test": test}}}
            found = parse_inspected(value)
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
        found = parse_inspected({"Id": "a", "HostConfig": {"Links": [text, 5, None]}})
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
        found = parse_listed({"Id": "a", "Names": names})
        assert found is not None
        assert found.name == wanted

    def test_an_endpoint_without_an_address_is_none_yet(self) -> None:
        value = {"Id": "n", "Containers": {"a": {"IPv4Address": "", "IPv6Address": ""}, "b": {}}}
        assert parse_network(value) is not None
        assert (parse_network(value) or (None, None))[1] == {}

    def test_addresses_are_canonical_and_nothing_else(self) -> None:
        said = {"IPv4Address": "10.0.0.2/16", "IPv6Address": "FD00:0:0::0002/64"}
        odd = {"IPv4Address": "10.0.0.2 evil", "IPv6Address": "fe80::1%e h\n/64"}
        parsed = parse_network({"Id": "n", "Containers": {"a": said, "b": odd}})
        assert parsed is not None
        assert parsed[1] == {"a": Endpoint("10.0.0.2", "fd00::2")}

    def test_started_never_is_zero(self) -> None:
        for text in ("0001-01-01T00:00:00Z", "", "yesterday", "2026-01-01T00:00:00.12x4Z"):
            found = parse_inspected({"Id": "a", "State": {"StartedAt": text}})
            assert found is not None
            assert found.started == 0

    def test_two_of_one_second_still_sort(self) -> None:
        first, second = (
            parse_inspected({"Id": "a", "Created": f"2026-11-24T03:14:35.{fraction}Z"})
            for fraction in ("14", "140000001")
        )
        assert first is not None
        assert second is not None
        assert second.created - first.created == 1

    @pytest.mark.parametrize("kind", ["image", "volume", "daemon", "", None, 5])
    def test_events_of_others_are_none_of_ours(self, kind: object) -> None:
        assert parse_event({"Type": kind, "Action": "x", "Actor": {"ID": "a"}}) is None

    def test_only_the_new_fields_are_read(self) -> None:
        assert parse_event({"status": "start", "id": "a", "from": "busybox"}) is None
