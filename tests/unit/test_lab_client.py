import pytest

from tests.lab.client import Client, demultiplex
from tests.lab.create import CreateOptions, create_body


def test_a_body_without_options_is_the_plain_busybox() -> None:
    body = create_body({})

    assert body["Image"] == "busybox"
    assert body["HostConfig"]["NetworkMode"] == "default"
    assert "NetworkingConfig" not in body
    assert "Cmd" not in body


@pytest.mark.parametrize("network", ["bridge", "host", "none", "container:web"])
def test_only_user_networks_take_endpoint_settings(network: str) -> None:
    body = create_body({"network": network, "links": ["db:webdb"]})

    assert "NetworkingConfig" not in body
    assert body["HostConfig"]["Links"] == ["db:webdb"]


def test_an_endpoint_has_what_was_said_of_it_and_nothing_else() -> None:
    body = create_body({"network": "back", "endpoint_links": ["db:webdb"], "ip": "10.0.0.9"})

    assert body["NetworkingConfig"]["EndpointsConfig"] == {
        "back": {"Links": ["db:webdb"], "IPAMConfig": {"IPv4Address": "10.0.0.9"}}
    }


def test_published_ports_are_exposed_too() -> None:
    body = create_body({"exposed": ["53/udp"], "ports": {"80": ("127.0.0.1", 8080)}})

    assert body["ExposedPorts"] == {"53/udp": {}, "80/tcp": {}}
    assert body["HostConfig"]["PortBindings"] == {
        "80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8080"}]
    }


@pytest.mark.parametrize(
    ("options", "policy"),
    [
        ({}, ("no", 0)),
        ({"restart": "always"}, ("always", 0)),
        ({"restart": "on-failure:3"}, ("on-failure", 3)),
    ],
)
def test_restart_policies(options: CreateOptions, policy: tuple[str, int]) -> None:
    written = create_body(options)["HostConfig"]["RestartPolicy"]

    assert (written["Name"], written["MaximumRetryCount"]) == policy


def test_both_outputs_are_joined_in_their_order() -> None:
    stream = b"\x01\0\0\0\0\0\0\x03one\x02\0\0\0\0\0\0\x04 two"

    assert demultiplex(stream) == "one two"


def test_a_client_speaks_the_version_it_was_given(tmp_path_factory: pytest.TempPathFactory) -> None:
    nobody_there = tmp_path_factory.mktemp("engine") / "docker.sock"

    assert Client(nobody_there, api="1.41").api == "1.41"
