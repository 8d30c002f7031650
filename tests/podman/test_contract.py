"""What relinkd relies on in a real Podman, and what its recordings say of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.engine.stack import until
from tests.podman.conftest import PodmanStack
from watchers.podman import FILTERS, is_podman

FIXTURES = Path(__file__).parents[1] / "fixtures"


@pytest.mark.core
def test_it_is_told_by_its_version_as_recorded(stack: PodmanStack) -> None:
    said = stack.client.version()
    assert is_podman(json.dumps(said).encode())
    file = FIXTURES / f"podman-{stack.engine.version}" / "version.json"
    recorded = json.loads(file.read_text())
    assert said["ApiVersion"] == recorded["ApiVersion"]
    assert said["Version"] == recorded["Version"]


def test_an_end_and_a_start_tell_of_no_network(stack: PodmanStack) -> None:
    db = stack.run("db")
    stack.client.restart(db)
    stack.client.remove(db)
    stack.settle()
    # A cleanup comes or does not, depending on who is faster.
    awaited = {"create", "start", "die", "remove", "connect", "disconnect"}
    actions = [each for each in stack.served.journal.actions(db) if each in awaited]
    assert actions == ["create", "start", "die", "start", "die", "remove"]


def test_an_event_of_a_network_is_about_a_container(stack: PodmanStack) -> None:
    front = stack.network("front")
    db = stack.run("db")
    stack.client.connect(front, db)
    stack.client.disconnect(front, db)
    stack.settle()
    moves = [each for each in stack.served.journal.events if each["Actor"]["ID"] == db]
    moves = [each for each in moves if each["Type"] == "network"]
    assert [each["Action"] for each in moves] == ["connect", "disconnect"]
    named = [each["Actor"]["Attributes"].get("network") for each in moves]
    assert named == ([None] * 2 if stack.engine.key == "podman-4.3" else [front] * 2)


def test_the_stream_is_filtered_by_podmans_own_names(stack: PodmanStack) -> None:
    with (
        stack.client.stream_events(FILTERS) as own,
        stack.client.stream_events({"event": ["die", "destroy"]}) as dockers,
    ):
        db = stack.run("db")
        stack.client.kill(db)
        stack.settle()
        seen = []
        for event in own:
            seen.append(event["Action"])
            if event["Action"] == "die" and event["Actor"]["ID"] == db:
                break
        assert {"create", "start"} <= {*seen}
        dockers.close()
        assert [*dockers] == []


@pytest.mark.core
def test_a_hosts_file_is_made_anew_at_each_start_in_the_directory_that_podman_names(
    stack: PodmanStack,
) -> None:
    db = stack.create("db")
    file = stack.hosts_path(db)
    assert file.parent.is_dir()
    assert not file.exists()
    stack.client.start(db)
    assert stack.client.inspect(db)["HostsPath"] == str(file)
    first = file.stat()
    with file.open("rb"):  # or the same inode might be given out again
        stack.client.restart(db)
        assert file.stat().st_ino != first.st_ino
    stack.client.stop(db)
    assert file.exists()
    answer = stack.relinkd.call("check", code=0)
    assert f"containers directory {stack.containers_dir}" in answer


def test_the_networks_answer_has_a_started_container_and_no_stopped_one(
    stack: PodmanStack,
) -> None:
    db = stack.run("db")
    assert f"{stack.address(db)}\t{db[:12]} {stack.name('db')}\n" in stack.hosts(db)
    stack.client.stop(db)
    assert stack.address(db) in ("none", "")


@pytest.mark.core
def test_a_disconnect_drops_comments_and_keeps_names(stack: PodmanStack) -> None:
    front = stack.network("front")
    db = stack.run("db")
    stack.client.connect(front, db)
    with stack.hosts_path(db).open("a") as file:
        file.write("# a comment\n10.9.9.9        one one one\n#0.9.9.8        two two two\n")
    stack.client.disconnect(front, db)
    until(lambda: "# a comment" not in stack.hosts(db), "the rewrite")
    until(lambda: "10.9.9.9\tone one one\n" in stack.hosts(db), "the line")
    assert "two" not in stack.hosts(db)
