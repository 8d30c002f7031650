"""relinkd killed, at random moments; that it is also killed at each one is for tests/faults."""

from __future__ import annotations

import mmap
import os
import random
import signal
import time
from functools import partial
from itertools import cycle
from pathlib import Path

from reconciler.hosts.files import HostsFiles
from reconciler.hosts.leased_write import Status
from reconciler.hosts.plan import plan
from reconciler.links.desired import Line
from tests.engine.stack import Stack, run_relinkd, until
from tests.fakes.engine import FakeEngine
from tests.prove.trial import FAKE, Figures, Ground, trial

OWNER = "ab" * 32
BASE = b"127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost\n172.17.0.9\tabababababab\n"
LATE = b"".join(b"10.0.0.%d\tlate-%d\n" % (number, number) for number in range(60))
BEGUN = [
    BASE,
    BASE + b"# relinkd begin\n172.17.0.2      n0.example\n# relinkd end\n" + LATE,
]
"""In the second, more room is needed than there is before somebody's lines."""
ALIASES = [f"n{number}.example" for number in range(120)]
RECIPIENTS = 20
LONGEST = 0.02
"""Seconds that a writer lives at most; it writes about once in a tenth of a millisecond."""


def _wish(address: str | None, count: int) -> list[Line]:
    return [Line((alias,), 4, address) for alias in ALIASES[:count]]


WISHES = [
    _wish("172.17.0.2", 1),
    _wish("172.17.0.2", len(ALIASES)),
    _wish(None, len(ALIASES)),
    _wish("172.17.100.200", 40),
    _wish("172.17.0.3", len(ALIASES)),
    _wish(None, 1),
]


def _meant(wish: list[Line]) -> set[bytes]:
    lines = (f"{slot.address:15} {slot.names[0]}" for slot in wish if slot.address)
    return {*BASE.splitlines(), *LATE.splitlines(), *(line.encode() for line in lines)}


MAY_SAY = set().union(*map(_meant, WISHES))


def _said(data: bytes) -> list[bytes]:
    return [line.rstrip() for line in data.splitlines() if line[:1] not in (b"", b"#")]


@trial("Killed while it writes", short=100, full=10_000, unit="kills of a writer", engines=(FAKE,))
def killed_while_writing(ground: Ground, count: int) -> Figures:
    """A process delivers one content after another to one hosts file, as fast as it can: few lines
    and many, up, down, moved. In half of the files, lines of another program follow the block,
    which then grows over a page. The process is killed at a random moment, and the next one
    continues. Promised after each kill: everything that is not relinkd's is there to the byte, and
    every whole line is one that was wanted; after the next delivery there is one block, with the
    content that was wanted.
    """
    chance = random.Random(11)
    path = ground.folder / OWNER / "hosts"
    path.parent.mkdir()
    cut = half = wrong = 0
    with mmap.mmap(-1, 8) as written:
        for _ in range(count):
            begun = chance.choice(BEGUN)
            path.write_bytes(begun)
            child = os.fork()
            if not child:
                _write_for_ever(ground.folder, written)
            time.sleep(chance.uniform(0, LONGEST))
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            left = path.read_bytes()
            cut += not left.endswith(b"\n")
            half += _begins(left) != left.count(b"# relinkd end\n")
            whole = left[: left.rfind(b"\n") + 1]
            wrong += not _theirs_is_there(begun, left) or not {*_said(whole)} <= MAY_SAY
            wish = chance.choice(WISHES)
            with HostsFiles(ground.folder) as files:
                assert files.deliver(OWNER, partial(plan, slots=wish)).status is Status.DONE
            now = path.read_bytes()
            wrong += now.count(b"# relinkd begin\n") != 1
            wrong += _begins(now) != now.count(b"# relinkd end\n")
            theirs = {*LATE.splitlines()} if begun is BASE else set()
            wrong += not _theirs_is_there(begun, now) or {*_said(now)} != _meant(wish) - theirs
        figures = Figures(
            {
                "deliveries": int.from_bytes(written[:8], "little"),
                "files left with a cut last line": cut,
                "files left with half a block": half,
                "files left wrong, or not put right": wrong,
            }
        )
    assert not wrong, figures
    return figures


def _begins(data: bytes) -> int:
    return sum(data.count(marker) for marker in (b"# relinkd begin\n", b"# relinkd more\n"))


def _theirs_is_there(begun: bytes, now: bytes) -> bool:
    return now.startswith(BASE) and now.count(LATE) == (begun is not BASE)


def _write_for_ever(folder: Path, written: mmap.mmap) -> None:
    try:
        with HostsFiles(folder) as files:
            for wish in cycle(WISHES):
                files.deliver(OWNER, partial(plan, slots=wish))
                written[:8] = (int.from_bytes(written[:8], "little") + 1).to_bytes(8, "little")
    finally:
        os._exit(1)


@trial("relinkd killed under load", short=8, full=300, unit="kills of relinkd", engines=(FAKE,))
def killed_under_load(ground: Ground, count: int) -> Figures:
    """A source restarts without a pause, and twenty containers link to it. relinkd is killed at a
    random moment and started again. Promised after each kill: every file still has its localhost
    lines and no line without a name. Promised after the next start: every link is right, and every
    file has a single block.
    """
    chance = random.Random(13)
    restarts = wrong = 0
    socket = ground.folder / "engine.sock"
    with (
        FakeEngine("28", socket=socket, root=ground.folder) as fake,
        ground.on_fake(within=[]) as relinkd,
    ):
        stack = Stack(fake.client, fake.containers_dir, relinkd)
        db = stack.run("db")
        webs = [stack.run(f"web{number}", "db") for number in range(RECIPIENTS)]
        for _ in range(count):
            deadline = time.monotonic() + chance.uniform(0.05, 0.3)
            while time.monotonic() < deadline:
                stack.client.restart(db)
                restarts += 1
            assert relinkd.stop(signal.SIGKILL) == -signal.SIGKILL
            for web in webs:
                wrong += stack.lookup(web, "localhost") != ["127.0.0.1", "::1"]
                wrong += any(len(line.split()) < 2 for line in stack.hosts(web).splitlines())
            relinkd.start()
            where = stack.address(db)
            for web in webs:
                stack.await_lookup(web, "db", where)
                wrong += stack.hosts(web).count("# relinkd begin\n") != 1
                wrong += stack.hosts(web).count("# relinkd end\n") != 1
        asked = ("health", f"--run-dir={relinkd.run_dir}")
        until(lambda: run_relinkd(*asked).stdout == "ok\n", "health")
    figures = Figures(
        {
            "restarts of the source": restarts,
            "files looked at after a kill": count * RECIPIENTS,
            "files left wrong, or not put right": wrong,
        }
    )
    assert not wrong, figures
    return figures
