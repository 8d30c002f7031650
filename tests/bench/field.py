"""An engine with sources, recipients and those who write their files, who take turns.

The bare loops are bounds: they trust what they read, know one source (a container that is made
while they run is the source from then on), and write plain files; that on inotify takes no address
back.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from tests.bench.apart import Script, Shares, cpu, loops, pause, resume, settle
from tests.bench.judge import addresses
from tests.bench.rounds import (
    Held,
    Kind,
    Round,
    Run,
    first_instruction,
    judged,
    right_at,
    runs_of,
    signalled,
    wrong,
)
from tests.engine.stack import until
from tests.lab.client import Client

ALIAS = "db"
FOLDER = "/first"
COMMAND = ["sh", "-c", f"echo >{FOLDER}/instruction; exec sleep 1000000"]
"""What a source runs: first of all it writes a file that the third process watches."""
READ = f'while read -r line; do echo "$line"; done </etc/hosts >{FOLDER}/part'
"""How a recipient keeps what it finds, before it has started any other process."""
PATIENCE = 5.0
"""Seconds after which a file that is not right never will be."""
UNREACHABLE = "255.255.255.255"
"""Where relinkd holds an alias that would else lead to another container."""
RELINKD, BEFORE, SHARED = "relinkd", "relinkd before", "relinkd with `cpu_shares`"
INOTIFY, CONNECT = "bare loop: inotify", "bare loop: `connect`, GET"
LINK = "the engine's own `--link`"


@dataclass(frozen=True)
class Writer:
    """Somebody who keeps files, and whose turn it is at times."""

    who: str
    pid: int | None
    """None: the engine itself."""
    files: Sequence[Path]
    source: str = "db"
    shares: bool = False


@dataclass
class Field:
    """The containers of one engine; `db` is the source of all files but the engine's own links."""

    client: Client
    containers_dir: Path
    folder: Path
    relinkds: Mapping[str, int]
    """The process IDs of those that keep the recipients' files, stopped outside their turns."""
    peers: dict[str, tuple[int, Path]] = field(default_factory=dict)
    shares: Shares = field(default_factory=Shares)
    sources: dict[str, str] = field(default_factory=dict)
    recipients: list[Path] = field(default_factory=list)
    linked: list[Path] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.client.network_create("elsewhere")
        for name in ("db", "own"):
            self.instruction(name).parent.mkdir()
            self.instruction(name).touch()
            self._create(name)
            self.client.start(self.sources[name])
        self._holder = self.client.run("holder", network="elsewhere")

    def instruction(self, source: str) -> Path:
        """Return the file that a source writes first."""
        return self.folder / source / "instruction"

    def grow(self, count: int) -> None:
        """Have as many recipients, and as many with a link of the engine's own."""
        # The holder's address must stay among the lowest.
        if self._address(self._holder) is None:
            self.client.connect("bridge", self._holder)
        numbers = range(len(self.recipients), count)
        with ThreadPoolExecutor(4) as pool:
            self.recipients += pool.map(self._recipient, numbers)
            self.linked += pool.map(self._linked, numbers)

    def _recipient(self, number: int) -> Path:
        return self._hosts(self.client.run(f"web{number}", labels={"relinkd.links": "db"}))

    def _linked(self, number: int) -> Path:
        labels = {"relinkd.enable": "false"}
        return self._hosts(self.client.run(f"link{number}", links=["own:db"], labels=labels))

    def _hosts(self, container: str) -> Path:
        return self.containers_dir / container / "hosts"

    def _create(self, name: str) -> None:
        binds = [f"{self.instruction(name).parent}:{FOLDER}"]
        self.sources[name] = self.client.create(name, cmd=COMMAND, binds=binds)

    def _address(self, container: str) -> str | None:
        members = self.client.network("bridge")["Containers"]
        found = members.get(container, {}).get("IPv4Address")
        return found.partition("/")[0] if found else None

    # -- who takes part

    @contextmanager
    def writers(self, kind: Kind, *, busy: bool) -> Iterator[list[Writer]]:
        """Yield those who can be measured so, relinkd first; all of them are stopped."""
        count = len(self.recipients)
        made = [Writer(who, pid, self.recipients) for who, pid in self.relinkds.items()]
        if busy and not self.shares.unavailable():
            made.append(Writer(SHARED, self.relinkds[RELINKD], self.recipients, shares=True))
        if kind == "recipient":
            yield made
            return
        with ExitStack() as stack:
            network = self.client.network("bridge")["Id"]
            scripts: dict[str, tuple[object, ...]] = {
                INOTIFY: ("bare_inotify", self.containers_dir),
                CONNECT: ("bare_connect", self.client.socket, self.client.api, network),
            }
            for number, (who, (script, *arguments)) in enumerate(scripts.items()):
                files = [self.folder / f"bare{number}-{n}" for n in range(count)]
                for file in files:
                    file.write_text(f"{'#':15} db\n")
                loop = stack.enter_context(
                    Script(str(script), *arguments, self.sources["db"], *files)
                )
                pause(loop.pid)
                made.append(Writer(who, loop.pid, files))
            made += (Writer(who, pid, [file]) for who, (pid, file) in self.peers.items())
            if kind == "restart":
                made.append(Writer(LINK, None, self.linked, source="own"))
            yield made

    # -- rounds

    def play(self, kind: Kind, count: int, others: int, *, busy: bool) -> dict[str, list[Round]]:
        """Play `count` rounds of relinkd, and between them `others` of everybody else."""
        found: dict[str, list[Round]] = {}
        with ExitStack() as stack:
            burning = stack.enter_context(loops((os.cpu_count() or 1) if busy else 0))
            writers = stack.enter_context(self.writers(kind, busy=busy))
            for turn in range(others):
                for writer in writers:
                    share = 1
                    if writer.who == RELINKD:
                        share = count * (turn + 1) // others - count * turn // others
                    rounds = found.setdefault(writer.who, [])
                    rounds += self._turn(kind, writer, share, burning)
        return found

    def _turn(
        self, kind: Kind, writer: Writer, count: int, burning: Sequence[int]
    ) -> Iterator[Round]:
        watched = [self.instruction(writer.source), *writer.files]
        with ExitStack() as stack:
            if writer.pid is not None:
                resume(writer.pid)
                stack.callback(pause, writer.pid)
                settle(writer.pid)
            names = ALIAS
            if kind == "restart":
                watched.append(self._hosts(self.sources[writer.source]))
                names += "," + self.sources[writer.source][:12]
            judge = stack.enter_context(Script("judge", names, *watched))
            sampler = None
            if burning:
                sampler = stack.enter_context(Script("sampler", ALIAS, *writer.files))
            if writer.shares and writer.pid is not None:
                others = [*burning, *([sampler.pid] if sampler else [])]
                stack.enter_context(self.shares.entered(writer.pid, others))
            for _ in range(count):
                if kind == "recipient":
                    yield self._recipients_start()
                else:
                    yield self._round(kind, writer, judge, sampler)

    def _round(self, kind: Kind, writer: Writer, judge: Script, sampler: Script | None) -> Round:
        files = range(1, len(writer.files) + 1)
        judge.take()
        if sampler:
            sampler.take()
        begun = time.time_ns()
        before = self._address(self.sources[writer.source])
        held = self._move(kind, writer.source)
        address = self._address(self.sources[writer.source])
        assert before is not None
        assert address is not None
        assert address != before
        notes = []
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            notes += judge.take()
            if first_instruction(notes) and all(right_at(notes, n, address) for n in files):
                break
            time.sleep(0.02)
        time.sleep(0.05)  # what comes late must be seen too
        notes += judge.take()
        end = time.time_ns()
        if sampler:
            runs = [Run(n + 1, tuple(shown), *when) for n, shown, *when in sampler.take()]
        else:
            runs = runs_of(notes, files, end)
        events = self._events(begun)
        source, connected = self.sources[writer.source], events[self._holder, "connect"]
        others = [Held(at, since or connected, until or end) for at, since, until in held]
        return judged(
            notes,
            files,
            address,
            {name: events[source, name] for name in ("connect", "start")},
            signal=signalled(notes, len(writer.files) + 1, address),
            wrong=wrong(runs, others, (before, address, UNREACHABLE)),
        )

    def _recipients_start(self) -> Round:
        """Start a recipient, and see what its first process finds in its hosts file."""
        seen = self.folder / "seen" / "hosts"
        seen.parent.mkdir(exist_ok=True)
        seen.unlink(missing_ok=True)
        container = self.client.run(
            "late",
            labels={"relinkd.links": "db"},
            cmd=["sh", "-c", f"{READ}; mv {FOLDER}/part {FOLDER}/hosts; exec sleep 1000000"],
            binds=[f"{seen.parent}:{FOLDER}"],
        )
        until(seen.exists, "what a recipient's first process found")
        found, address = addresses(str(seen), [ALIAS]), self._address(self.sources["db"])
        self.client.remove(container)
        return Round(
            before_instruction=found == [address],
            before_start=None,
            lead=None,
            after_connect=None,
            after_signal=None,
            wrong=sum(each != address for each in found),
        )

    def _move(self, kind: Kind, name: str) -> list[tuple[str, int, int]]:
        """Have a source come up at another address; return what the holder had, and when.

        The holder takes the address that the source left: before its start where that is the lowest
        free one, else right after. A time of 0 is not known here.
        """
        before, begun = self._address(self.sources[name]), time.time_ns()
        at = self._address(self._holder)
        assert before is not None
        if kind == "restart":
            self.client.stop(self.sources[name])
        else:
            self.client.remove(self.sources[name])
        held = []
        if at is not None:
            held.append((at, begun, time.time_ns()))
            self.client.disconnect("bridge", self._holder)
        first = at is None or int(ip_address(before)) < int(ip_address(at))
        if first:
            self.client.connect("bridge", self._holder)
        if kind == "first start":
            self._create(name)
        self.client.start(self.sources[name])
        if not first:
            self.client.connect("bridge", self._holder)
        return [*held, (before, 0, 0)]

    def _events(self, begun: int) -> dict[tuple[str, str], int]:
        """Return when the engine told of what, by its own clock: of each subject the last."""
        found: dict[tuple[str, str], int] = {}
        for event in self.client.events(since=begun / 1e9, until=time.time() + 0.01):
            actor: dict[str, Any] = event["Actor"]
            subject = actor["Attributes"].get("container", actor["ID"])
            if event["timeNano"] > begun:
                found[subject, event["Action"]] = event["timeNano"]
        return found

    # -- CPU

    def spent(self, restarts: int, turns: int) -> dict[str, list[float]]:
        """Return the milliseconds of CPU that a restart of `db` costs each relinkd, by turns."""
        found: dict[str, list[float]] = {}
        for _ in range(turns):
            for who, pid in self.relinkds.items():
                resume(pid)
                settle(pid)
                before = cpu(pid)
                for _ in range(restarts):
                    self.client.restart(self.sources["db"])
                settle(pid)
                found.setdefault(who, []).append((cpu(pid) - before) / restarts * 1000)
                pause(pid)
        return found
