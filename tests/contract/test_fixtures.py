"""The fake's answers are those that were recorded, value by value; nothing is left out.

The recorded scenario (tests/fixtures/README.md) is played on the fake of each generation.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.fakes.engine import FakeEngine
from tests.fakes.generations import FIXTURES, GENERATIONS, Timing, recorded
from tests.lab.client import Client
from tests.lab.create import create_body

# What is another at each run: IDs and what is made of them, times, and numbers of processes.
_VARIABLE = [
    (re.compile(r"[0-9a-f]{64}"), "ID"),
    (re.compile(r"(?<![0-9a-f])[0-9a-f]{12}(?![0-9a-f])"), "SHORT"),
    (re.compile(r"([0-9a-f]{2}:){5}[0-9a-f]{2}"), "MAC"),
    (re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z"), "TIME"),
    (re.compile(r"\d+ seconds?|Less than a second"), "SPAN"),
    (re.compile(r"^/.*(?=/containers/ID)"), "ROOT"),
]
_COUNTED = {"Pid", "Created", "time", "timeNano", "execDuration"}


def masked(text: str) -> str:
    for pattern, name in _VARIABLE:
        text = pattern.sub(name, text)
    return text


def lines(answer: Any, path: str = "") -> Iterator[str]:
    """Yield a line for each value: where it stands, its type and, if it is no accident, itself."""
    match answer:
        case dict():
            yield f"{path} {{}}"
            for key, value in answer.items():
                yield from lines(value, f"{path}.{masked(key)}")
        case list():
            yield f"{path} []"
            # The engine lists ports in the order of a Go map: in none.
            ordered = sorted(answer, key=str) if path.endswith(".Ports") else answer
            for at, value in enumerate(ordered):
                yield from lines(value, f"{path}[{at}]")
        case int() | str() if path.rpartition(".")[2] in _COUNTED:
            yield f"{path} some {type(answer).__name__}"
        case str():
            yield f"{path} {masked(answer)!r}"
        case _:
            yield f"{path} {answer!r}"


class Scenario:
    """The recorded scenario, played on a fake; the answers are kept under the recorded names."""

    def __init__(self, fake: FakeEngine) -> None:
        self._fake = fake
        self.release = fake.world.generation.release
        self.answers: dict[str, Any] = {}
        api = ".".join(map(str, fake.world.generation.api))
        self._client = Client(fake.socket, api=api)
        with self._client.stream_events() as stream:
            self._play()
            fake.faults.cut_stream()
            self.answers["events"] = [*stream]

    def _ask(self, name: str, path: str) -> None:
        self.answers[name] = json.loads(self._client.raw("GET", path)[1])

    def _inspect(self, name: str, container: str) -> None:
        self._ask(name, f"/containers/{container}/json")

    def _connect(self, network: str, container: str, **endpoint: object) -> None:
        # The recorder was Docker's own client, which always says these two, and below which
        # outputs it would attach.
        endpoint = {"IPAMConfig": {}, "DriverOpts": {}, **endpoint}
        body = {"Container": container, "EndpointConfig": endpoint}
        status, _ = self._client.raw("POST", f"/networks/{network}/connect", body)
        assert status == 200

    def _play(self) -> None:
        client = self._client
        client.network_create("back", subnets=["fd00:77::/64"], ipv6=True)
        client.network_create("front")
        compose = {"com.docker.compose.project": "shop", "com.docker.compose.service": "db"}
        source: dict[str, Any] = {
            "exposed": ["5432", "53/udp"],
            "env": ["POSTGRES_PASSWORD=secret"],
        }
        source |= {"labels": compose, "stop_signal": "", "cmd": ["sleep", "1000000"]}
        client.run("db", **source)
        client.run(
            "web",
            links=["db:webdb"],
            labels={"relinkd.links": "db:other"},
            ports={"80": ("127.0.0.1", 8080)},
            stop_signal="",
        )
        self._ask("list", "/containers/json?all=1")
        self._inspect("inspect-db", "db")
        self._inspect("inspect-web", "web")
        client.run(
            "api",
            network="back",
            aliases=["service"],
            endpoint_links=["db:dblink"],
            healthcheck={"Test": ["CMD-SHELL", "true"], "Interval": 1_000_000_000},
            stop_signal="",
        )
        self._inspect("inspect-api", "api")
        self._ask("network-back", "/networks/back")
        self._ask("network-bridge", "/networks/bridge")
        self._connect("front", "api", Aliases=["second"], Links=["web:w"])
        self._connect("front", "web")
        self._inspect("inspect-api-two-networks", "api")
        client.restart("db")
        client.pause("db")
        client.unpause("db")
        client.rename("web", "web2")
        self._inspect("inspect-db-renamed-recipient", "db")
        client.disconnect("front", "api")
        client.kill("db")
        if self._fake.world.generation.number < 28:
            # Those were slower: the first probe had ended by then.
            self._fake.set_health("api", "healthy")
        self._inspect("inspect-db-exited", "db")
        self._ask("list-db-exited", "/containers/json?all=1")
        client.start("db")
        client.run("kid", network="container:db", stop_signal="")
        self._inspect("inspect-container-mode", "kid")
        client.remove("kid")
        client.remove("db")
        attached = {"AttachStdout": True, "AttachStderr": True}
        body = create_body({"stop_signal": ""}) | attached
        assert client.raw("POST", "/containers/create?name=db", body)[0] == 201
        self._inspect("inspect-db-created", "db")
        client.start("db")
        self._inspect("error-404", "nobody")
        self._ask("version", "/version")


@pytest.fixture(scope="module", params=GENERATIONS)
def played(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Scenario:
    root = tmp_path_factory.mktemp(request.param)
    timing = Timing.instant()
    with FakeEngine(request.param, socket=root / "s", root=root, timing=timing) as fake:
        return Scenario(fake)


ANSWERS = sorted(
    file.stem for file in (FIXTURES / "28.5.2").glob("*.json") if file.stem != "events"
)


@pytest.mark.parametrize("name", ANSWERS)
def test_answers_are_as_recorded(played: Scenario, name: str) -> None:
    answered, real = lines(played.answers[name]), lines(recorded(played.release, name))
    assert sorted(answered) == sorted(real)


def events_of(told: list[Any]) -> list[Any]:
    """Return the events without those of probes, which come when they like."""
    return [event for event in told if not event["Action"].startswith(("exec_", "health_"))]


def test_events_are_as_recorded(played: Scenario) -> None:
    file = FIXTURES / played.release / "events.jsonl"
    real = events_of([json.loads(line) for line in file.read_text().splitlines()])
    told = events_of(played.answers["events"])

    def said(events: list[Any]) -> list[tuple[str, str, str]]:
        return [(e["Type"], e["Action"], e["Actor"]["Attributes"]["name"]) for e in events]

    assert said(told) == said(real)
    for one, other in zip(told, real, strict=True):
        assert sorted(lines(one)) == sorted(lines(other))
