"""Every reader of bytes from outside, fed with what nobody should send."""

import json
from contextlib import suppress
from functools import cache
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reconciler.links.options import label_problems
from reconciler.links.sources import sources_of
from tests.builders import World, container, id_of, network
from tests.fuzz.engine import parsed
from tests.fuzz.said import SOME, harmless
from tests.fuzz.targets import FIXTURES, TARGETS
from tests.properties.fuzz_parts import often, sound, spoilt, texts, values
from watchers.model import Container
from watchers.wire import MalformedError

Json = Any


@pytest.mark.parametrize("target", TARGETS)
def test_no_bytes_break_a_reader(target: str) -> None:
    @often(250)
    @given(spoilt(target))
    def whatever(data: bytes) -> None:
        TARGETS[target](data)

    for data in (b"", b"\0", b"[" * 20_000, b"9" * 5_000, b"x = " + b"9" * 5_000, *sound(target)):
        TARGETS[target](data)
    whatever()


@cache
def recorded() -> list[str]:
    answers = [file.read_text("utf-8") for file in sorted(FIXTURES.glob("*/*.json"))]
    streams = [file.read_text("utf-8") for file in sorted(FIXTURES.glob("*/events.jsonl"))]
    return [*answers, *(line for stream in streams for line in stream.splitlines()[:20])]


def places(value: Json) -> list[tuple[Json, Any]]:
    """Return each (dict or list, key or index) in a value."""
    found: list[tuple[Json, Any]] = []
    todo = [value]
    for each in todo:
        if isinstance(each, dict | list):
            keys = [*each] if isinstance(each, dict) else [*range(len(each))]
            found += ((each, key) for key in keys)
            todo += (each[key] for key in keys)
    return found


@st.composite
def answers(draw: st.DrawFn) -> Json:
    """What an engine said, with some of it of another shape."""
    value = json.loads(draw(st.sampled_from(recorded())))
    for _ in range(draw(st.integers(1, 5))):
        if found := places(value):
            inside, key = found[draw(st.integers(0, len(found) - 1))]
            inside[key] = draw(values)
    return value


addresses = st.sampled_from(["10.0.0.1/8", "10.0.0.01", "FE80::1%x/64", "FD00::1", "::", "", "x/1"])
networks = st.fixed_dictionaries(
    {
        "Id": st.just("n"),
        "IPAM": st.builds(
            lambda *each: {"Config": [{"Gateway": each[0], "Subnet": each[1]}]}, *[addresses] * 2
        ),
        "Containers": st.dictionaries(
            st.just("a" * 64) | texts,
            st.builds(
                lambda *each: {"IPv4Address": each[0], "IPv6Address": each[1]}, *[addresses] * 2
            ),
        ),
    }
)


ODD_STATE: Json = [
    {"Id": "a" * 64, "Names": ["/db"], "State": "\x1f"},
    {"Id": "b" * 64, "Names": ["/web"], "State": "running", "Labels": {"relinkd.links": "db"}},
]
"""The reason said the state as the engine did."""


@often(250)
@example(ODD_STATE)
@given(values | answers() | networks)
def test_no_answer_is_too_strange_to_live_with(value: Json) -> None:
    with suppress(MalformedError):  # where a text holds half of a surrogate pair
        parsed(json.dumps(value).encode())


@pytest.mark.timeout(30)  # without a limit it took a minute
@pytest.mark.parametrize(
    "labels",
    [
        pytest.param({f"relinkd.x{at}": "" for at in range(100_000)}, id="many"),
        pytest.param(
            {f"relinkd.{at}" + "links.relinkd" * 200_000: "" for at in range(20)}, id="long names"
        ),
        pytest.param({"relinkd.on-change": "exec:" + "a " * 5_000_000}, id="long command"),
        pytest.param({"relinkd.links": "db:a " * 2_000_000}, id="long list"),
        pytest.param({"relinkd.host-names": "a." * 5_000_000}, id="long name of the host's"),
    ],
)
def test_no_label_costs_everybody_time(labels: dict[str, str]) -> None:
    for _ in range(5):
        problems = [*label_problems(Container(SOME, "web", labels))]
        assert len(problems) <= 21
        for problem in problems:
            harmless(problem)


def test_a_full_id_is_that_container_whoever_is_named_so() -> None:
    world = World(network("back"))
    world.add(container("web", f"{id_of('db')}:db"), back="10.0.0.9")
    world.add(container("db"), back="10.0.0.2")
    world.add(container(id_of("db")), back="10.0.0.3")
    (declared,) = world.graph.declared(world.id("web"))
    assert [each.name for each in sources_of(declared, world.mirror)] == ["db"]
    assert world.lines("web") == ["10.0.0.2 db"]
