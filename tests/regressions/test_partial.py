"""Knowledge that was old or partial: names went, and words were wrong, until an answer came.

A real relinkd beside the fake engine, whose answers come late or not at all.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.engine.stack import Daemon, Stack, daemon, resolve, run_relinkd, until
from tests.fakes.engine import FakeEngine
from tests.faults.test_unknown import always

SUFFIX = ".test"


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeEngine]:
    with FakeEngine("28", socket=tmp_path / "docker.sock", root=tmp_path) as fake:
        fake.containers_dir.mkdir(exist_ok=True)
        yield fake


@pytest.fixture
def names(tmp_path: Path) -> Path:
    """Return a hosts file of the host."""
    file = tmp_path / "hosts"
    file.write_text("127.0.0.1\tlocalhost\n")
    return file


@pytest.fixture
def stack(fake: FakeEngine, names: Path, tmp_path: Path) -> Iterator[Stack]:
    options = ["--allow=host-names", f"--host-names-file={names}", f"--host-names-suffix={SUFFIX}"]
    folders = fake.socket, fake.containers_dir, tmp_path
    with daemon(*folders, *options, recorded=False) as relinkd:
        yield Stack(fake.client, fake.containers_dir, relinkd)


def test_a_hosts_own_names_go_when_the_event_stream_is_cut(
    fake: FakeEngine, stack: Stack, names: Path
) -> None:
    """They came back with the answer of their network; the other network's answer came first."""
    slow, fast = stack.network("slow"), stack.network("fast")
    stack.run("other", network=fast, labels={"relinkd.host-names": f"other{SUFFIX}"})
    name = f"db{SUFFIX}"
    db = stack.run("db", network=slow, labels={"relinkd.host-names": name})
    address = stack.address(db, slow)
    until(lambda: resolve(names.read_text(), name) == [address], "the name")
    fake.faults.delay(f"^/networks/{fake.client.network(slow)['Id']}", 0.5)
    synced = len(stack.relinkd.log("engine.found"))
    with always(lambda: resolve(names.read_text(), name) == [address]):
        fake.faults.reset_stream()
        until(lambda: len(stack.relinkd.log("engine.found")) > synced, "the next connection")
        time.sleep(1)  # the answers of both networks come meanwhile
    stack.client.stop(db)
    until(lambda: resolve(names.read_text(), name) == [], "the end of the name")


def test_a_hosts_own_name_goes_while_a_new_relinkd_waits_for_an_inspect(
    fake: FakeEngine, stack: Stack, names: Path
) -> None:
    owner = stack.run("x")
    name = f"kid{SUFFIX}"
    kid = stack.run("kid", network=f"container:{owner}", labels={"relinkd.host-names": name})
    address = stack.address(owner)
    until(lambda: resolve(names.read_text(), name) == [address], "the name")
    assert stack.relinkd.stop() == 0
    inspect = f"/containers/{kid}/json"
    fake.faults.hang(f"^{inspect}")
    asked = len(fake.requests)
    with always(lambda: resolve(names.read_text(), name) == [address]):
        stack.relinkd.start()
        assert inspect in {request.url for request in [*fake.requests][asked:]}
        fake.faults.heal()
        # Only then the state is known.
        stack.relinkd.call("check")


def test_a_network_that_does_not_answer_is_called_a_relinkd_that_does_not_run(
    fake: FakeEngine, stack: Stack
) -> None:
    """And the log of the one that ran never said a word."""
    shared = stack.network("n")
    db = stack.run("db", network=shared)
    web = stack.run("web", "db", network=shared)
    stack.await_lookup(web, "db", stack.address(db, shared))
    assert stack.relinkd.stop() == 0
    path = f"/networks/{fake.client.network(shared)['Id']}"
    fake.faults.fail(f"^{path}", message="layers of wool")
    stack.relinkd.start()
    row = stack.state("web", "db")
    why = f"the engine has not answered for the networks of {stack.name('web')} yet"
    assert (row["state"], row["reason"]) == ("failed", why)
    done = run_relinkd("check", *stack.relinkd.options)
    assert done.returncode == 1
    assert why in done.stdout
    assert "layers of wool" in done.stderr
    name = stack.name("web")
    until(lambda: stack.relinkd.log("link.state", recipient=name, reason=why), "the log line")
    until(lambda: stack.relinkd.log("engine.unanswered"), "the error of the engine")
    (line,) = stack.relinkd.log("engine.unanswered")
    assert (line["level"], "layers of wool" in line["reason"]) == ("warning", True)
    fake.faults.heal()
    until(lambda: stack.state("web", "db")["state"] == "linked", "the link")


def test_a_relinkd_that_stood_by_takes_over_with_the_config_file_of_its_start(
    fake: FakeEngine, stack: Stack, tmp_path: Path
) -> None:
    config, folder = tmp_path / "relinkd.toml", tmp_path / "second"
    folder.mkdir()

    def declare(alias: str) -> None:
        link = (
            f'recipient = "{stack.name("web")}"\nsource = "{stack.name("db")}"\nalias = "{alias}"'
        )
        config.write_text(f"[[link]]\n{link}\n")

    declare("before")
    db, web = stack.run("db"), stack.run("web")
    options = fake.socket, fake.containers_dir, folder, f"--config={config}"
    with closing(Daemon(*options, recorded=False)) as second:
        second.start("daemon.standby")
        declare("after")
        with always(lambda: stack.lookup(web, "before") == []):
            assert stack.relinkd.stop() == 0
            stack.await_lookup(web, "after", stack.address(db))
