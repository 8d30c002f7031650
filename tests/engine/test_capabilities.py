"""relinkd needs no capability, network or writable root; where users are remapped it needs two."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.conftest import on_each
from tests.engine.power_parts import asked, follows, found, linked
from tests.engine.stack import Daemon, Stack, until
from tests.lab import images
from tests.lab.base import LabError
from tests.lab.engines import Engine
from tests.lab.footprint import reap
from tests.lab.packages import require_machine

NOTHING = ["--inh-caps=-all", "--ambient-caps=-all", "--no-new-privs"]


def only(*capabilities: str) -> list[str]:
    """Return the command that runs another as uid 0 with these capabilities and no others."""
    kept = ",".join(["-all", *(f"+{each.lower()}" for each in capabilities)])
    return ["setpriv", f"--bounding-set={kept}", *NOTHING]


OWN_MOUNTS = ["unshare", "--net", "--mount", "--propagation=private", "sh", "-ec"]


def unwritable(containers_dir: Path, run_dir: Path) -> list[str]:
    """Return the command that runs another without a network, all read-only but these two."""
    script = 'mount --bind "$1" "$1"; mount --bind "$2" "$2"; mount -o remount,bind,ro /'
    script += '; shift 2; exec "$@"'
    return [*OWN_MOUNTS, script, "sh", str(containers_dir), str(run_dir)]


def read_only(folder: Path) -> list[str]:
    """Return the command that runs another with a folder mounted read-only."""
    script = 'mount --bind "$1" "$1"; mount -o remount,bind,ro "$1"; shift; exec "$@"'
    return [*OWN_MOUNTS, script, "sh", str(folder)]


def status(relinkd: Daemon) -> dict[str, str]:
    """Return what the kernel says of the daemon's process."""
    assert relinkd.process is not None
    lines = Path(f"/proc/{relinkd.process.pid}/status").read_text().splitlines()
    parts = (line.partition(":") for line in lines)
    return {key: value.strip() for key, _, value in parts}


def test_without_capability_network_or_a_root_to_write_on(stack: Stack, tmp_path: Path) -> None:
    within = [*unwritable(stack.containers_dir, tmp_path), *only()]
    with stack.instead(tmp_path, within=within) as relinkd:
        assert relinkd.process is not None
        proc = Path(f"/proc/{relinkd.process.pid}")
        capabilities = {key: int(each, 16) for key, each in status(relinkd).items() if "Cap" in key}
        assert set(capabilities.values()) == {0}
        assert len(capabilities) == 5
        assert (proc / "comm").read_text() == "relinkd\n"
        mounts = [line.split() for line in (proc / "mountinfo").read_text().splitlines()]
        ways = {mount[4]: mount[5].split(",")[0] for mount in mounts}
        assert [ways[str(each)] for each in ("/", stack.containers_dir, tmp_path)] == [
            "ro",
            "rw",
            "rw",
        ]
        devices = (proc / "net/dev").read_text().splitlines()[2:]
        assert [line.partition(":")[0].strip() for line in devices] == ["lo"]

        web, db = linked(stack)
        follows(stack, web, db)
        assert relinkd.log("leases.unavailable") == relinkd.log("delivery.failed") == []
        assert asked(relinkd, "check", within=within)[0] == 0


def test_check_says_where_it_may_not_write(stack: Stack, tmp_path: Path) -> None:
    linked(stack)
    relinkd = Daemon(stack.client.socket, stack.containers_dir, tmp_path, recorded=False)
    code, answer = asked(relinkd, "check", within=read_only(stack.containers_dir))
    assert code == 1
    assert f"- {stack.name('web')}: {stack.containers_dir} is mounted read-only" in answer


REMAPPED = "relinkd-lab"
FIRST_UID = 100000


class Remapped(Engine):
    """An engine that remaps users, by a user that is there for it alone."""

    def __init__(self, key: str) -> None:
        super().__init__(key, root=None, dockerd_args=[f"--userns-remap={REMAPPED}"])
        # Where its containers are looked for when all of it is taken away.
        self.containers_dir.symlink_to(f"{FIRST_UID}.{FIRST_UID}/containers")

    @property
    def within(self) -> list[str]:
        """Enter also a mount namespace whose /etc knows that user; the machine's does not."""
        state = self._footprint.state
        ids = f"{FIRST_UID}:{FIRST_UID}"
        for name, line in (
            ("passwd", f"{REMAPPED}:x:{ids}::/:/bin/false"),
            ("group", f"{REMAPPED}:x:{FIRST_UID}:"),
            ("subuid", f"{REMAPPED}:{FIRST_UID}:65536"),
            ("subgid", f"{REMAPPED}:{FIRST_UID}:65536"),
        ):
            there = Path("/etc", name)
            text = there.read_text() if there.exists() else ""
            (state / name).write_text(f"{text}{line}\n")
        script = 'for name in passwd group subuid subgid; do : >>"/etc/$name"; '
        script += 'mount --bind "$0/$name" "/etc/$name"; done; exec "$@"'
        own = ["unshare", "--mount", "--propagation=slave", "sh", "-ec", script, str(state)]
        return [*super().within, *own]


@pytest.fixture(params=on_each("builder"))
def remapped(request: pytest.FixtureRequest) -> Iterator[Remapped]:
    try:
        require_machine()
        reap()
        engine = Remapped(request.param)
        try:
            engine.start()
            images.load(engine.client)
            yield engine
        finally:
            engine.remove()
    except LabError as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))


@contextmanager
def limited(remapped: Remapped, stack: Stack, folder: Path, *capabilities: str) -> Iterator[Daemon]:
    """Run a relinkd as uid 0 with these capabilities alone."""
    folder.mkdir()
    with closing(Daemon(remapped.socket, stack.containers_dir, folder, recorded=False)) as relinkd:
        relinkd.within = only(*capabilities)
        relinkd.start()
        stack.relinkd = relinkd
        yield relinkd


def test_where_users_are_remapped_it_takes_two_capabilities(
    remapped: Remapped, tmp_path: Path
) -> None:
    containers_dir = remapped.root / f"{FIRST_UID}.{FIRST_UID}/containers"
    nobody = Daemon(remapped.socket, containers_dir, tmp_path, recorded=False)
    stack = Stack(remapped.client, containers_dir, nobody)
    db = stack.run("db")
    web = stack.run("web", "db")
    assert stack.hosts_path(web).stat().st_uid == FIRST_UID

    def failed(recipient: str) -> list[str]:
        name = stack.name(recipient)
        lines = stack.relinkd.log("delivery.failed", recipient=name)
        return [line["reason"] for line in lines]

    with limited(remapped, stack, tmp_path / "none") as relinkd:
        until(lambda: failed("web"), "it to be refused")
        assert "DAC_OVERRIDE is missing" in failed("web")[0]
        code, answer = asked(relinkd, "check", within=relinkd.within)
        line = found(answer)[0]
        assert code == 1
        assert line.startswith(f"- {stack.name('web')}: the hosts file cannot be written: ")
        assert f"belongs to uid {FIRST_UID}" in line
        assert "cap_add: [DAC_OVERRIDE, LEASE]" in line
        assert stack.lookup(web, "db") == []

    with limited(remapped, stack, tmp_path / "both", "DAC_OVERRIDE", "LEASE") as relinkd:
        stack.await_lookup(web, "db", stack.address(db))
        follows(stack, web, db)
        assert relinkd.log("delivery.failed") == relinkd.log("leases.unavailable") == []
        assert asked(relinkd, "check", within=relinkd.within)[0] == 0

    # Engine 20.10 gives a file away only after `connect`: before, it is of our own uid.
    late = stack.run("late", "db")
    with limited(remapped, stack, tmp_path / "one", "DAC_OVERRIDE") as relinkd:
        follows(stack, web, db)  # in its line, which is there
        (told,) = relinkd.log("leases.unavailable")
        assert "capability LEASE is missing" in told["reason"]
        # It has no line yet, and none is made beside readers.
        until(lambda: failed("late"), "it to be refused")
        assert "capability LEASE is missing" in failed("late")[0]
        assert stack.lookup(late, "db") == []
        code, answer = asked(relinkd, "check", within=relinkd.within)
        assert code == 1
        assert found(answer)[0].startswith(
            f"- {stack.name('late')}, {stack.name('web')}: the kernel grants no"
        )
        assert "capability LEASE is missing" in found(answer)[0]
