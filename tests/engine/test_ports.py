"""`relinkd ports` against the real `docker port`, on each real engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.engine.stack import Stack, run_relinkd
from tests.lab.base import LabError
from tests.lab.engines import Engine

Answer = tuple[bool, str, str]
"""Whether it was answered, what, and what was said on standard error."""


@pytest.fixture
def same(stack: Stack, engine: Engine) -> Callable[..., str]:
    """Ask both for the ports of a container; return what both answered."""

    def docker(*args: str) -> Answer:
        try:
            return True, engine.docker("port", *args), ""
        except LabError as error:
            return False, "", str(error).partition(" failed: ")[2]

    def ports(*args: str) -> Answer:
        done = run_relinkd("ports", *stack.relinkd.options, *args)
        assert done.returncode in (0, 1)
        return done.returncode == 0, done.stdout, done.stderr

    def ask(short: str, *port: str) -> str:
        name = stack.name(short)
        with ThreadPoolExecutor(2) as pool:
            answers = [pool.submit(each, name, *port) for each in (docker, ports)]
        theirs, ours = (answer.result() for answer in answers)
        assert ours[:2] == theirs[:2]
        if not theirs[0] and "public port" in theirs[2]:
            said = theirs[2].removeprefix("Error: ").casefold()
            assert ours[2].splitlines()[-1].removeprefix("relinkd: ").casefold() == said
        return ours[1] if ours[0] else f"failed: {ours[2]}"

    return ask


def each_of(same: Callable[..., str], *ports: str) -> Iterator[str]:
    with ThreadPoolExecutor(4) as pool:
        yield from pool.map(lambda port: same("web", port), ports)


def test_ports_of_every_kind(stack: Stack, engine: Engine, same: Callable[..., str]) -> None:
    publish = [
        *("-p", "20080:80"),
        *("-p", "127.0.0.1:20053:53/udp"),
        *("-p", "127.0.0.1:20054:53/tcp"),
        *("-p", "127.0.0.1:20100-20103:100-103"),
        *("-p", "[::1]:20443:443"),
        *("-p", "127.0.0.1:20443:443"),
        *("-p", "127.0.0.1:20444:443"),
        *("-p", "9"),
        *("--expose", "5432"),
    ]
    engine.docker("run", "-d", "--name", stack.name("web"), *publish, "busybox")
    answer = same("web")
    assert answer.splitlines()[-1] == "443/tcp -> [::1]:20443"
    assert "80/tcp -> 0.0.0.0:20080\n" in answer
    assert "53/udp -> 127.0.0.1:20053\n" in answer
    assert "103/tcp -> 127.0.0.1:20103\n" in answer
    assert "5432" not in answer
    assert same("web", "443").splitlines() == [
        "127.0.0.1:20443",
        "127.0.0.1:20444",
        "[::1]:20443",
    ]
    assert same("web", "53") == "127.0.0.1:20054\n"
    assert same("web", "53/udp") == "127.0.0.1:20053\n"
    assert same("web", "53/") == "127.0.0.1:20054\n"
    for answer in each_of(same, "80/tcp", "100", "9"):
        assert "failed" not in answer


def test_what_is_not_published_fails_as_there(
    stack: Stack, engine: Engine, same: Callable[..., str]
) -> None:
    options = ["-p", "127.0.0.1:21080:80", "--expose", "5432"]
    engine.docker("run", "-d", "--name", stack.name("web"), *options, "busybox")
    ports = ("5432", "80/udp", "81", "80-81", "http", "080", "80/TCP", "99999", "80/tcp/x")
    for answer in each_of(same, *ports):
        assert answer.startswith("failed:")
    assert same("nobody").startswith("failed:")
    assert same("%77eb").startswith("failed:")
    assert same("nobody", "80").startswith("failed:")


def test_only_a_running_container_publishes(
    stack: Stack, engine: Engine, same: Callable[..., str]
) -> None:
    options = ["-p", "127.0.0.1:22080:80", "--stop-signal", "KILL"]
    engine.docker("create", "--name", stack.name("web"), *options, "busybox")
    assert same("web") == ""
    stack.client.start(stack.name("web"))
    assert same("web") == "80/tcp -> 127.0.0.1:22080\n"
    stack.client.pause(stack.name("web"))
    assert same("web", "80") == "127.0.0.1:22080\n"
    stack.client.unpause(stack.name("web"))
    stack.client.stop(stack.name("web"))
    assert same("web") == ""
    assert "not running" in same("web", "80")
    engine.docker("run", "-d", "--name", stack.name("bare"), "busybox")
    assert same("bare") == ""
    options = ["--network", f"container:{stack.name('bare')}"]
    engine.docker("run", "-d", "--name", stack.name("child"), *options, "busybox")
    assert same("child") == ""
