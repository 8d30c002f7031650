"""Engine JSON to model: what four generations said."""

from dataclasses import asdict, replace

from tests.unit.recorded import FIXTURES, body, generation, said
from watchers.model import Container, Endpoint, EngineLink, Hint, Offer
from watchers.parse import (
    ICC,
    parse_event,
    parse_inspected,
    parse_list,
    parse_network,
    parse_offer,
    parse_ports,
)


def listed(generation: str, name: str) -> tuple[Container, ...]:
    found = parse_list(body(generation, name))
    assert found is not None
    return found


def inspected(generation: str, name: str) -> Container:
    found = parse_inspected(body(generation, name))
    assert found is not None
    return found


def events(generation: str) -> list[Hint]:
    lines = (FIXTURES / generation / "events.jsonl").read_bytes().splitlines()
    return [hint for line in lines if isinstance(hint := parse_event(line), Hint)]


@generation
class TestList:
    def test_names_labels_states(self, generation: str) -> None:
        found = {each.name: each for each in listed(generation, "list")}
        assert found.keys() == {"web", "db"}
        assert found["web"].labels == {"relinkd.links": "db:other"}
        assert found["db"].service == ("shop", "db")
        assert {each.state for each in found.values()} == {"running"}
        assert found["web"].networks == ("bridge",)
        assert found["web"].detail is None

    def test_the_extra_names_of_a_linked_source_are_not_its_own(self, generation: str) -> None:
        names = [item["Names"] for item in said(generation, "list-db-exited")]
        assert ["/db", "/web2/webdb"] in names
        assert {each.name for each in listed(generation, "list-db-exited")} == {
            "api",
            "web2",
            "db",
        }

    def test_states_and_networks_later(self, generation: str) -> None:
        found = {each.name: each for each in listed(generation, "list-db-exited")}
        assert {name: each.state for name, each in found.items()} == {
            "api": "running",
            "web2": "running",
            "db": "exited",
        }
        assert set(found["web2"].networks) == {"bridge", "front"}
        assert found["api"].networks == ("back",)
        assert found["api"].network_mode == "back"

    def test_created_in_the_unit_of_an_inspect(self, generation: str) -> None:
        (db,) = (each for each in listed(generation, "list") if each.name == "db")
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
        assert parse_inspected(body(generation, "error-404")) is None


@generation
class TestOffer:
    def offer(self, generation: str, name: str) -> Offer:
        found = parse_offer(body(generation, name))
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
        assert parse_offer(body(generation, "error-404")) is None
        assert parse_ports(body(generation, "error-404")) is None

    def test_ports_come_without_the_environment(self, generation: str) -> None:
        assert self.offer(generation, "inspect-db").env
        for name in ("inspect-web", "inspect-db", "inspect-db-exited"):
            offer, ports = parse_offer(body(generation, name)), parse_ports(body(generation, name))
            assert offer is not None
            assert ports == replace(offer, env=())


@generation
class TestNetwork:
    def test_endpoints(self, generation: str) -> None:
        parsed = parse_network(body(generation, "network-back"))
        assert parsed is not None
        network, endpoints, _ = parsed
        api = inspected(generation, "inspect-api")
        assert endpoints == {api.id: Endpoint("172.18.0.2", "fd00:77::2")}
        assert (network.name, network.driver, network.internal) == ("back", "bridge", False)
        assert set(network.subnets) == {"172.18.0.0/16", "fd00:77::/64"}
        assert "172.18.0.1" in network.gateways
        assert network.dual_stack

    def test_default_bridge(self, generation: str) -> None:
        """It says `enable_icc` of its own accord, the others only if it was asked for."""
        parsed = parse_network(body(generation, "network-bridge"))
        assert parsed is not None
        network, endpoints, _ = parsed
        assert sorted(each.ipv4 or "" for each in endpoints.values()) == [
            "172.17.0.2",
            "172.17.0.3",
        ]
        assert {each.ipv6 for each in endpoints.values()} == {None}
        assert not network.dual_stack
        assert said(generation, "network-bridge")["Options"][ICC] == "true"
        assert (network.icc, network.scope, network.ingress) == (True, "local", False)

    def test_no_network(self, generation: str) -> None:
        assert parse_network(body(generation, "error-404")) is None


@generation
class TestEvents:
    def test_all_of_them(self, generation: str) -> None:
        lines = (FIXTURES / generation / "events.jsonl").read_text("utf-8").splitlines()
        assert len(events(generation)) == len(lines)

    def test_connect_says_who_and_where(self, generation: str) -> None:
        first = next(hint for hint in events(generation) if hint.action == "connect")
        assert first.container == inspected(generation, "inspect-db").id
        (_, endpoints, _) = parse_network(body(generation, "network-bridge")) or (None, {}, None)
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
