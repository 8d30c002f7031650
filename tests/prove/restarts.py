"""Sources that restart and addresses that others take, beside tight readers."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.engine.stack import Stack, resolve, until
from tests.lab.client import Client
from tests.lab.connection import EventStream
from tests.prove.reader import reading
from tests.prove.resolvers import LIBRARIES, Change, binds, changes, lookups
from tests.prove.trial import Figures, Ground, trial

ALIAS = "db"


@dataclass
class Events:
    """What the engine told of one container while this was open, by its own clock."""

    seen: list[tuple[int, str]] = field(default_factory=list)

    def runs(self) -> list[tuple[int, int]]:
        """Return from `start` to the first `die` or `disconnect` of each run that ended."""
        found, begun = [], 0
        for at, action in sorted(self.seen):
            if action == "start":
                begun = at
            elif action in ("die", "disconnect", "kill") and begun:
                found.append((begun, at))
                begun = 0
        return found


@contextmanager
def events_of(client: Client, *containers: str) -> Iterator[dict[str, Events]]:
    """Collect the events of containers."""
    found = {container: Events() for container in containers}

    def collect(stream: EventStream) -> None:
        for event in stream:
            actor = event["Actor"]
            for who in (actor["ID"], actor["Attributes"].get("container")):
                if who in found:
                    found[who].seen.append((event["timeNano"], event["Action"]))

    with client.stream_events() as stream:
        thread = threading.Thread(target=collect, args=[stream], daemon=True)
        thread.start()
        yield found
        time.sleep(0.5)  # the last ones are still to come
    thread.join()


@trial("Torn reads", short=8, full=1000, unit="restarts of the source")
def torn_reads(ground: Ground, count: int) -> Figures:
    """A source restarts again and again. Two readers outside read a linked recipient's hosts file
    without a pause, whole and in pieces of 1,024 bytes. Resolvers in two other recipients, one with
    musl and one with glibc, look up `localhost` and the alias without a pause. Promised: no read is
    empty, cut or without `localhost`; every line ever read is one of the file's own or gives the
    source an address that it had; no look-up of `localhost` fails; and none of the alias fails from
    the first that succeeds until the source stops. `late` counts the runs of the source in which a
    look-up failed after its `start`, before the first that succeeded. The last rows are the
    engine's own `--link` in the same run, read the same way.
    """
    with ground.stack() as stack, ExitStack() as readers:
        db = stack.run(ALIAS)
        web = stack.run("web", ALIAS)
        inside = {library: _resolving(stack, library, ground.folder) for library in LIBRARIES}
        engines_own = stack.run(
            "own", links=[f"{stack.name(ALIAS)}:{ALIAS}"], labels={"relinkd.enable": "false"}
        )
        for container in (web, *inside.values()):
            stack.await_lookup(container, ALIAS, stack.address(db))
        own = {line for line in stack.hosts(web).splitlines() if ALIAS not in line.split()}
        ours = [readers.enter_context(reading(stack.hosts_path(web), size)) for size in (0, 1024)]
        theirs = readers.enter_context(reading(stack.hosts_path(engines_own), 0))
        addresses = {stack.address(db)}
        with events_of(stack.client, db) as told:
            for _ in range(count):
                stack.client.restart(db)
                addresses.add(stack.address(db))
                stack.await_lookup(web, ALIAS, stack.address(db))
        logs = {library: stack.client.logs(each) for library, each in inside.items()}
        readers.close()
    foreign = {line for each in ours for line in each.lines - own if not _names(line, addresses)}
    figures = Figures(
        {
            "reads outside": sum(each.seen["reads"] for each in ours),
            "contents seen": sum(each.seen["contents"] for each in ours),
            "empty": sum(each.seen["empty"] for each in ours),
            "cut": sum(each.seen["cut"] for each in ours),
            "without localhost": sum(each.seen["without localhost"] for each in ours),
            "foreign lines": len(foreign),
        }
    )
    for library, log in logs.items():
        found = changes(log)
        failed, late = _judge(found, told[db].runs())
        figures[f"look-ups, {library}"] = lookups(log, 2)
        figures[f"of localhost that failed, {library}"] = len(
            [each for each in found if each.name == "localhost" and each.address is None]
        )
        figures[f"of the running source that failed, {library}"] = failed
        figures[f"late, {library}"] = late
    promised = [figures[name] for name in figures if "failed" in name]
    promised += [figures[name] for name in ("empty", "cut", "without localhost", "foreign lines")]
    if foreign:
        figures["they are"] = "; ".join(sorted(foreign)[:3])
    assert not any(promised), figures
    for name in ("reads", "empty", "cut", "without localhost"):
        figures[f"--link: {name}"] = theirs.seen[name]
    return figures


def _resolving(stack: Stack, library: str, folder: Path) -> str:
    own = folder / library
    own.mkdir(exist_ok=True)
    command = ["/resolver", "localhost", ALIAS]
    container = stack.run(library, ALIAS, cmd=command, binds=binds(library, own))
    # As the readers: interrupted at any point, with what the engine and relinkd leave of the time.
    os.setpriority(os.PRIO_PROCESS, stack.client.inspect(container)["State"]["Pid"], 19)
    return container


def _names(line: str, addresses: set[str]) -> bool:
    words = line.split()
    return len(words) == 2 and words[0] in addresses and words[1] == ALIAS


def _judge(found: list[Change], runs: list[tuple[int, int]]) -> tuple[int, int]:
    """Count runs of the source in which the alias was lost again, and in which it came late."""
    failed = late = 0
    for begun, ended in runs:
        within = [each for each in found if each.name == ALIAS and begun < each.before]
        within = [each for each in within if each.after < ended]
        right = [each.before for each in within if each.address is not None]
        lost = [each.before for each in within if each.address is None]
        late += any(each.address is not None for each in within)
        failed += any(not right or at > right[0] for at in lost)
    return failed, late


@trial("Never wrong", short=5, full=500, unit="addresses taken by another container")
def never_wrong(ground: Ground, count: int) -> Figures:
    """A source stops and another container, the intruder, takes its address, again and again, while
    three more containers restart in loops. A third process watches the recipient's hosts file.
    Promised: the entry is gone before the intruder's `start`. The last rows are the engine's own
    `--link` in the same run: how often it still had the address when the intruder ran; it keeps it
    for good.
    """
    wrong = own_wrong = 0
    ahead: list[float] = []
    with ground.stack() as stack, _load(stack):
        db = stack.run(ALIAS)
        web = stack.run("web", ALIAS)
        engines_own = stack.run(
            "own", links=[f"{stack.name(ALIAS)}:{ALIAS}"], labels={"relinkd.enable": "false"}
        )
        taken = 0
        while taken < count:
            address = stack.address(db)
            stack.await_lookup(web, ALIAS, address)
            begun = time.time_ns()
            intruder = stack.create("intruder", network="bridge")
            with stack.witness(web) as witness:
                stack.client.stop(db)
                stack.client.start(intruder)
                if stack.address(intruder) == address:
                    taken += 1
                    until(lambda: [] in witness.addresses(ALIAS), "the entry to go")
                    gone = witness.first(ALIAS, [])
                    started = stack.event_time("start", intruder, begun)
                    wrong += gone >= started
                    ahead.append((started - gone) / 1e6)
                    own_wrong += address in resolve(stack.hosts(engines_own), ALIAS)
            stack.client.remove(intruder)
            stack.client.start(db)
    ahead.sort()
    figures = Figures(
        {
            "entry still there at the intruder's start": wrong,
            "shortest time that it was gone before, ms": round(ahead[0], 1),
            "median, ms": round(ahead[len(ahead) // 2], 1),
            "--link: entry still there": own_wrong,
        }
    )
    assert wrong == 0, figures
    return figures


@contextmanager
def _load(stack: Stack) -> Iterator[None]:
    """Keep the engine busy with containers that nobody links to, on a network of their own."""
    over = threading.Event()
    aside = stack.network("aside", "172.30.200.0/24")
    others = [stack.run(f"other{number}", network=aside) for number in range(3)]

    def restart(container: str) -> None:
        client = Client(stack.client.socket, api=stack.client.api)
        while not over.is_set():
            client.restart(container)

    threads = [threading.Thread(target=restart, args=[each], daemon=True) for each in others]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()
