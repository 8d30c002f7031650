"""Answers with any part missing or of another shape: read as far as they go, without an error."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.builders import patient
from tests.unit.recorded import dumped, said
from watchers.model import Container, Hint, Offer
from watchers.parse import (
    parse_event,
    parse_inspected,
    parse_list,
    parse_message,
    parse_network,
    parse_network_ids,
    parse_offer,
    parse_version,
)

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
    | st.floats(allow_nan=False, allow_infinity=False)
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
    answer = dumped(value)
    check_offer(parse_offer(answer))
    check_container(parse_inspected(answer))
    for each in (*(parse_list(answer) or ()), *(parse_list(dumped([value, value])) or ())):
        check_container(each)
    for each_id in (
        *(parse_network_ids(answer) or ()),
        *(parse_network_ids(dumped([value])) or ()),
    ):
        check_text(each_id)
    if parsed := parse_network(answer):
        network, endpoints, _ = parsed
        assert network.id
        assert type(network.internal) is type(network.icc) is type(network.ingress) is bool
        assert isinstance(network.dual_stack, bool)
        for container, endpoint in endpoints.items():
            assert len(container) == 64
            assert endpoint.ipv4 or endpoint.ipv6
            assert all("/" not in each for each in (endpoint.ipv4, endpoint.ipv6) if each)
    hint = parse_event(answer)
    if isinstance(hint, Hint):
        assert hint.action
        assert hint.container or hint.network
        assert type(hint.time_ns) is int
        assert all(isinstance(x, str) for pair in hint.labels.items() for x in pair)
    assert isinstance(parse_message(answer), str | None)
    for text in parse_version(answer):
        check_text(text)


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
