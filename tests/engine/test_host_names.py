"""Names of containers in the host's own hosts file: a file that stands for it, bind-mounted."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

import pytest

from tests.engine.stack import Stack, Witness, resolve, run_relinkd, until
from tests.lab.create import CreateOptions

HOSTILE = (
    b"# d\xe9j\xe0 l\xe0 \x00\xff no text\r\n\n127.0.0.1\tlocalhost\r\n"
    b"   192.0.2.1 router # web.docker\r\n#\n# relinkd end\n::1 localhost\nff02::1 last.example"
)
"""As hosts have it: two kinds of line ends, none at the end, latin-1, and what looks like ours."""

ROUNDS, MOVES = 4, 12
"""Restarts, and changes of network, under the eyes of readers."""

READER = """
import json, os, re, sys
path, kept, before = sys.argv[1], sys.argv[2] == "kept", bytes.fromhex(sys.argv[3])
reads = empty = torn = 0
seen = set()
fd = os.open(path, os.O_RDONLY)
os.set_blocking(0, False)
print("reading", flush=True)
while True:
    if not kept:
        os.close(fd)
        fd = os.open(path, os.O_RDONLY)
    data = os.pread(fd, 1 << 20, 0)
    reads += 1
    if not data:
        empty += 1
    elif not (data.startswith(before) and data.endswith(b"# relinkd end\\n")):
        torn += 1
    else:
        for line in data[len(before):].splitlines():
            if not line.startswith(b"#"):
                seen.add(line.decode("latin-1"))
    if reads % 1000 == 0:
        try:
            if not os.read(0, 1):
                break
        except BlockingIOError:
            pass
print(json.dumps([reads, empty, torn, sorted(seen)]), flush=True)
"""
"""Reads as fast as it can, opening the file anew each time or keeping it open (`kept`)."""


@dataclass
class Host:
    """A scenario whose relinkd keeps names in a file of the host's."""

    stack: Stack
    file: Path
    """As the host has it."""
    mounted: Path
    """As relinkd has it."""

    @property
    def settings(self) -> list[str]:
        return ["--allow=host-names", f"--host-names-file={self.mounted}"]

    def run(self, short: str, names: str, **options: Unpack[CreateOptions]) -> str:
        options["labels"] = {"relinkd.host-names": names}
        return self.stack.run(short, **options)

    def lookup(self, name: str) -> list[str]:
        return resolve(self.file.read_text("latin-1"), name)

    def await_lookup(self, name: str, *addresses: str) -> None:
        until(lambda: self.lookup(name) == list(addresses), f"{name} at {addresses}")
        self.stack.relinkd.await_turn()

    def getent(self, name: str) -> list[str]:
        """Return what the C library's resolver finds with this file as its /etc/hosts."""
        script = 'mount --bind "$1" /etc/hosts && exec getent -s files ahosts "$2"'
        done = subprocess.run(
            ["unshare", "-m", "sh", "-c", script, "sh", self.file, name],
            capture_output=True,
            text=True,
            check=False,
            timeout=20,
        )
        assert done.returncode in (0, 2), done.stderr
        return [line.split()[0] for line in done.stdout.splitlines() if "STREAM" in line]

    def log(self, event: str, **values: Any) -> list[dict[str, Any]]:
        return self.stack.relinkd.log(event, **values)

    def blocks(self) -> int:
        return self.file.read_bytes().count(b"# relinkd begin")


@pytest.fixture
def host(stack: Stack, tmp_path: Path) -> Iterator[Host]:
    """Let a relinkd that may keep names take the place of the one that all scenarios share."""
    found = Host(stack, tmp_path / "hosts", tmp_path / "mounted")
    found.file.write_bytes(HOSTILE)
    found.mounted.touch()
    with ExitStack() as undo:
        subprocess.run(["mount", "--bind", found.file, found.mounted], check=True)
        undo.callback(subprocess.check_call, ["umount", found.mounted])
        with stack.instead(tmp_path, *found.settings, "--resync=1s"):
            yield found


@contextmanager
def reading(host: Host, how: str) -> Iterator[list[Any]]:
    """Read all the while; what was read is in the list afterwards."""
    argv = [sys.executable, "-c", READER, str(host.file), how, (HOSTILE + b"\n").hex()]
    found: list[Any] = []
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"reading\n"
        try:
            yield found
        finally:
            output, _ = process.communicate()
        found += json.loads(output)


def test_the_hosts_own_resolver_finds_each_container_where_the_host_reaches_it(host: Host) -> None:
    stack = host.stack
    dual = stack.network("dual", "172.30.40.0/24", "fd00:30:40::/64")
    inner = stack.network("inner", "172.30.41.0/24", internal=True)
    web = host.run("web", "web.docker, www.web.docker")
    both = host.run("both", "both.docker", network=dual)
    inside = host.run("inside", "inside.docker", network=inner)
    host.run("onhost", "onhost.docker", network="host")
    host.run("beside", "beside.docker", network=f"container:{both}")
    stack.create("never", labels={"relinkd.host-names": "never.docker"})
    pair = [stack.address(both, dual), stack.address(both, dual, 6)]
    expected = {
        "web.docker": [stack.address(web)],
        "www.web.docker": [stack.address(web)],
        "both.docker": pair,
        "inside.docker": [stack.address(inside, inner)],
        "onhost.docker": ["127.0.0.1", "::1"],
        "beside.docker": pair,
    }
    for name, addresses in expected.items():
        host.await_lookup(name, *addresses)
        assert sorted(host.getent(name)) == sorted(addresses)
    assert host.getent("last.example") == ["ff02::1"]
    until(lambda: b" never.docker" in host.file.read_bytes())
    assert host.getent("never.docker") == []
    assert host.file.read_bytes().startswith(HOSTILE + b"\n# relinkd begin\n")
    assert "all is well" in stack.relinkd.call("check", *host.settings)


@pytest.mark.core
def test_a_name_is_gone_before_another_has_its_address(host: Host) -> None:
    stack = host.stack
    web = host.run("web", "web.docker")
    old = stack.address(web)
    host.await_lookup("web.docker", old)
    with Witness(host.file) as witness:
        began = time.time_ns()
        stack.client.stop(web)
        squatter = stack.run("squatter")
        assert stack.address(squatter) == old  # or the move is none
        stack.client.start(web)
        new = stack.address(web)
        host.await_lookup("web.docker", new)
        stack.client.restart(web)
        host.await_lookup("web.docker", stack.address(web))
        stack.client.remove(web)
        host.await_lookup("web.docker")
    assert witness.addresses("web.docker")[:3] == [[old], [], [new]]
    assert witness.addresses("web.docker")[-1] == []
    gone = witness.first("web.docker", [])
    assert gone < stack.event_time("start", squatter, began)
    name = stack.name("web")
    changed = host.log("host_names.changed", container=name)[:3]
    assert [(line["name"], line["family"], line["old"], line["new"]) for line in changed] == [
        ("web.docker", 4, None, old),
        ("web.docker", 4, old, None),
        ("web.docker", 4, None, new),
    ]
    assert changed[1]["cause"] in ("die", "disconnect")
    assert changed[1]["of"] == name
    assert host.file.read_bytes().startswith(HOSTILE + b"\n# relinkd begin\n")


def test_a_name_is_at_the_gateway_network_and_nowhere_once_off_all(host: Host) -> None:
    stack = host.stack
    other = stack.network("other", "172.30.42.0/24")  # `bridge` is before it, by name
    web = host.run("web", "web.docker")
    first = stack.address(web)
    host.await_lookup("web.docker", first)
    with Witness(host.file) as witness:
        stack.client.connect(other, web)
        second = stack.address(web, other)
        marker = host.run("marker", "marker.docker")  # what was before it is known with it
        host.await_lookup("marker.docker", stack.address(marker))
        assert host.lookup("web.docker") == [first]
        stack.client.disconnect("bridge", web)
        host.await_lookup("web.docker", second)
        stack.client.disconnect(other, web)
        host.await_lookup("web.docker")
        stack.client.connect("bridge", web)
        third = stack.address(web)
        host.await_lookup("web.docker", third)
        stack.client.remove(marker)
        stack.kill_process(web)
        host.await_lookup("web.docker")
    seen = [addresses for addresses in witness.addresses("web.docker") if addresses]
    assert seen == [[first], [second], [third]]


def test_a_name_outside_the_suffix_is_refused_once(host: Host) -> None:
    stack = host.stack
    web = host.run("web", "web.docker registry.example docker")
    host.await_lookup("web.docker", stack.address(web))
    stack.client.restart(web)
    host.await_lookup("web.docker", stack.address(web))
    looked = time.monotonic() + 2.5  # two resyncs
    until(lambda: time.monotonic() > looked)
    assert b"registry.example" not in host.file.read_bytes()
    refused = host.log("host_names.refused", container=stack.name("web"))
    assert sorted(line["name"] for line in refused) == ["docker", "registry.example"]
    assert "does not end in .docker" in refused[0]["reason"]
    said = stack.relinkd.call("check", *host.settings, code=1)
    assert f"{stack.name('web')}: relinkd.host-names: registry.example is not written" in said


def test_of_two_that_claim_one_name_the_one_that_is_up_has_it(host: Host) -> None:
    stack = host.stack
    old = host.run("old", "web.docker")
    host.await_lookup("web.docker", stack.address(old))
    young = host.run("young", "web.docker")
    until(lambda: host.log("host_names.refused", container=stack.name("young"), name="web.docker"))
    (line,) = host.log("host_names.refused")
    assert line["reason"] == f"{stack.name('old')}, which is older, has it"
    assert host.lookup("web.docker") == [stack.address(old)]
    with Witness(host.file) as witness:
        stack.client.stop(old)
        host.await_lookup("web.docker", stack.address(young))
        stack.client.start(old)
        host.await_lookup("web.docker", stack.address(old))
        stack.client.remove(old)
        host.await_lookup("web.docker", stack.address(young))
    assert all(len(addresses) <= 1 for addresses in witness.addresses("web.docker"))


def test_what_somebody_edits_survives_outside_and_is_put_back_inside(host: Host) -> None:
    stack = host.stack
    web = host.run("web", "web.docker")
    address = stack.address(web)
    host.await_lookup("web.docker", address)
    mine = host.file.read_bytes().replace(b"last.example\n", b"last.example\r\n192.0.2.3 nas\n")
    stranger = mine.replace(address.encode(), b"192.0.2.66") + b"192.0.2.4 behind"
    host.file.write_bytes(stranger)  # in place, as `tee` does
    host.await_lookup("web.docker", address)
    assert host.file.read_bytes() == mine + b"192.0.2.4 behind"
    host.file.write_bytes(HOSTILE)
    host.await_lookup("web.docker", address)
    assert host.blocks() == 1
    with host.file.open("ab") as file:
        file.write(b"192.0.2.5 web.docker\n")
    host.await_lookup("web.docker", "192.0.2.5")
    until(lambda: host.log("host_names.refused", name="web.docker"))
    assert (
        "another line of the file wins: '192.0.2.5 web.docker'"
        in host.log("host_names.refused")[0]["reason"]
    )
    assert "192.0.2.5" in stack.relinkd.call("check", *host.settings, code=1)


def test_no_reader_ever_sees_it_empty_or_torn(
    host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    stack = host.stack
    web = host.run("web", "web.docker")
    addresses = {stack.address(web)}
    host.await_lookup("web.docker", *addresses)
    with reading(host, "kept") as kept, reading(host, "anew") as anew:
        for number in range(ROUNDS):
            stack.client.stop(web)
            stack.run(f"squatter{number}")
            stack.client.start(web)
            now = stack.address(web)
            addresses.add(now)
            host.await_lookup("web.docker", now)
        # Addresses that differ in every part: of two that were mixed it would be seen.
        wide = stack.network("wide", "10.99.0.0/16")
        stack.client.disconnect("bridge", web)
        for number in range(MOVES):
            now = ("10.99.111.222", "10.99.3.4")[number % 2]
            stack.client.connect(wide, web, ip=now)
            addresses.add(now)
            host.await_lookup("web.docker", now)
            stack.client.disconnect(wide, web)
            host.await_lookup("web.docker")
    lines = {f"{address:15} web.docker" for address in addresses}
    assert len(lines) > ROUNDS // 2
    for how, (reads, empty, torn, seen) in (("kept open", kept), ("opened anew", anew)):
        figures = f"{reads} reads, {empty} empty, {torn} torn"
        with capsys.disabled():
            print(f"\n{ROUNDS} restarts, {MOVES} moves, {how}: {figures}")
        assert (empty, torn) == (0, 0)
        assert reads > 1000
        assert {*seen} <= lines
        assert f"{now:15} web.docker" in seen


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_relinkd_that_comes_back_goes_on_with_its_block(
    host: Host, number: signal.Signals
) -> None:
    stack = host.stack
    web, other = host.run("web", "web.docker"), host.run("other", "other.docker")
    host.await_lookup("other.docker", stack.address(other))
    host.await_lookup("web.docker", stack.address(web))
    before, said = host.file.read_bytes(), len(host.log("host_names.changed"))
    stack.relinkd.stop(number)
    assert host.file.read_bytes() == before
    stack.relinkd.start()
    stack.client.stop(other)  # whatever was to be said of the first look is said by then
    host.await_lookup("other.docker")
    assert host.blocks() == 1
    assert host.lookup("web.docker") == [stack.address(web)]
    until(lambda: host.log("host_names.changed")[said:], "the line of the change")
    (line,) = host.log("host_names.changed")[said:]
    assert line["name"] == "other.docker"
    stack.relinkd.stop(number)
    stack.client.stop(web)
    stack.relinkd.start()
    host.await_lookup("web.docker")


def test_clean_leaves_what_was_there(host: Host) -> None:
    stack = host.stack
    for short in ("web", "other"):
        host.run(short, f"{short}.docker " + " ".join(f"{short}{n}.docker" for n in range(40)))
    until(lambda: host.lookup("web39.docker") and host.lookup("other39.docker"))
    assert host.blocks() == 1
    assert stack.relinkd.stop() == 0
    kept = host.file.read_bytes()
    said = stack.relinkd.call("clean", "--dry-run", *host.settings)
    assert re.search(r"mounted: the block of \d+ lines would be removed", said)
    assert host.file.read_bytes() == kept
    said = stack.relinkd.call("clean", *host.settings)
    assert re.search(r"mounted: the block of \d+ lines removed", said)
    assert host.file.read_bytes() == HOSTILE


def test_a_file_that_the_host_replaced_is_told_of(host: Host) -> None:
    """A bind mount stays with the inode that it was made of."""
    stack = host.stack
    web = host.run("web", "web.docker")
    host.await_lookup("web.docker", stack.address(web))
    new = host.file.with_suffix(".new")
    new.write_bytes(host.file.read_bytes())
    new.rename(host.file)
    until(lambda: host.log("host_names.failed"), "the resync that finds it")
    (line,) = host.log("host_names.failed")
    assert "restart relinkd's container" in line["reason"]
    assert "restart relinkd's container" in stack.relinkd.call("check", *host.settings, code=1)


def test_it_says_at_once_what_it_needs(host: Host) -> None:
    needs = {
        ("--host-names-file=/etc/hosts",): (2, "--allow host-names need each other"),
        ("--allow=host-names",): (2, "host-names-file and"),
        ("--allow=host-names", "--host-names-file=/no/such"): (1, "/no/such: No such file"),
        ("--allow=host-names", "--host-names-file=/etc"): (1, "is not a regular file"),
    }
    for settings, (code, says) in needs.items():
        done = run_relinkd("run", *host.stack.relinkd.options, *settings)
        assert done.returncode == code, done.stdout + done.stderr
        assert says in done.stderr
