"""`relinkd clean` of files of variables."""

import pytest

from reconciler.cli.commands import FAILED
from reconciler.engine_api import Ran
from tests.builders import container
from tests.machine import Machine


class Inside:
    """Files in containers, and what was asked of the engine for them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.files: dict[tuple[str, str], bytes] = {}
        self.ran: list[list[str]] = []
        self.code = 0
        for name in ("get_file", "put_file", "run"):
            monkeypatch.setattr(f"reconciler.engine_api.EngineApi.{name}", getattr(self, name))

    async def get_file(self, container: str, path: str) -> bytes | None:
        return self.files.get((container, path))

    async def put_file(self, container: str, path: str, data: bytes, *, below: str) -> None:
        assert below == "/"
        self.files[container, path] = data

    async def run(self, container: str, argv: list[str], *, user: str) -> Ran:
        assert user == "0"
        self.ran.append(argv)
        if self.code == 0:
            self.files.pop((container, argv[2]))
        return Ran(self.code, "")


@pytest.fixture
def inside(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Inside:
    """`app` runs, `old` does not; both have a file of variables at /run/links."""
    found = Inside(monkeypatch)
    labels = {"relinkd.env-file": "/run/links"}
    machine.world.add(container("app", "db", labels=labels), back="10.0.0.20")
    machine.world.add(container("old", "db", labels=labels, state="exited"))
    for name in ("app", "old"):
        found.files[machine.world.id(name), "/run/links"] = b"A='secret'\n# relinkd end\n"
    return found


def test_go_and_of_one_that_does_not_run_the_content(machine: Machine, inside: Inside) -> None:
    result = machine.run("clean")
    assert result.exit_code == 0
    assert inside.files == {(machine.world.id("old"), "/run/links"): b""}
    assert inside.ran == [["rm", "-f", "/run/links", "/run/links.new"]]
    lines = result.stdout.splitlines()
    assert "app: /run/links removed" in lines
    assert any(line.startswith("old: /run/links emptied") for line in lines)
    assert "secret" not in result.output


def test_dry_run_only_says_so(machine: Machine, inside: Inside) -> None:
    before = dict(inside.files)
    result = machine.run("clean", "--dry-run")
    assert "app: /run/links would be removed" in result.stdout
    assert (inside.files, inside.ran) == (before, [])


def test_what_is_not_ours_stays(machine: Machine, inside: Inside) -> None:
    theirs = dict.fromkeys(inside.files, b"A=mine\n")
    inside.files = dict(theirs)
    assert "/run/links" not in machine.run("clean").output
    assert inside.files == theirs


def test_what_cannot_go_is_said_with_how(machine: Machine, inside: Inside) -> None:
    inside.code = 127
    result = machine.run("clean")
    assert result.exit_code == FAILED
    assert (
        "app: /run/links not removed: rm ended with 127; docker exec -u 0 app rm /run/links"
    ) in result.stderr


def test_check_says_of_a_file_that_cannot_be_there(machine: Machine, inside: Inside) -> None:
    labels = {"relinkd.env-file": "/run/links"}
    machine.world.add(container("old", "db", labels=labels, mounts=["/run/links"]))
    said = "- old: relinkd.env-file: /run/links is a mount itself, so"
    assert said in machine.run("check", "--allow=env-file").stdout
    assert said not in machine.run("check").stdout
    assert inside.ran == []
