"""Many things at once: restarts, crashes, events that are nobody's business."""

from __future__ import annotations

import http
import http.client
import io
import json
import os
import signal
import socket
import tarfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from tests.bench.stage import LINKS, Apart, Stage, World
from tests.engine.stack import Daemon, Stack, until
from tests.lab.client import Client
from tests.prove.gauge import INSIDE, Gauge
from tests.prove.trial import FAKE, Figures, Ground, trial

BY_EVENTS_ALONE = "--resync=1h"
"""An engine drops events for a reader that is slow; with no look to come nothing hides that."""
BUFFER = 212_992
"""Bytes that the kernel keeps for a reader; where it is full the engine waits, then drops."""
GROWTH = 24.0
"""MiB that a flood may cost; of what a look at hundreds of containers needs, most is given back."""
PATIENCE = 300.0
ALIAS = "db"


def writes(relinkd: Daemon) -> Counter[str]:
    """Return how many deliveries changed each recipient's file; needs the log level debug."""
    relinkd.await_turn()
    return Counter(line["recipient"] for line in relinkd.log("delivery.tried", changed=True))


@trial("Everything restarts at once", short=10, full=300, unit="containers restarted at once")
def restart_flood(ground: Ground, count: int) -> Figures:
    """Many containers run, each linked to the next two, and three more link to the first ten of
    them. First those ten restart while relinkd is stopped by a signal, so that it sees one burst.
    Then all of the many restart at the same moment. The next resync is an hour away, so a single
    lost event would leave a file wrong. Promised: the burst costs each recipient at most two
    writes, one for what is gone and one for what is back. The flood costs as many for each source,
    or three where the engine takes it off its network again. In the end every line is right, memory
    stays bounded, and the engine's buffer for relinkd never runs full.
    """
    relinkd_options = [BY_EVENTS_ALONE, "--log-level=debug"]
    with ground.stack(*relinkd_options, within=INSIDE) as stack, ThreadPoolExecutor(16) as pool:
        names = [f"c{number}" for number in range(count)]
        bursting = names[:10]

        def run(number: int) -> str:
            following = [names[(number + step) % count] for step in (1, 2)]
            return stack.run(names[number], " ".join(following))

        ids = dict(zip(names, pool.map(run, range(count)), strict=True))
        recipients = [stack.run(f"web{number}", " ".join(bursting)) for number in range(3)]

        def wrong() -> int:
            endpoints = stack.client.network("bridge")["Containers"]
            where = {
                name: endpoints[id_]["IPv4Address"].partition("/")[0]
                for name, id_ in ids.items()
                if id_ in endpoints
            }
            # One that the engine has taken off its network, late, has no line and needs none.
            meant = [
                (ids[name], names[(at + 1) % count])
                for at, name in enumerate(names)
                if name in where
            ]
            meant += [(web, name) for web in recipients for name in bursting]
            return sum(
                stack.lookup(recipient, name) != ([where[name]] if name in where else [])
                for recipient, name in meant
            )

        until(lambda: not wrong(), "the first lines", PATIENCE)
        gauge = Gauge.of(stack.relinkd)
        before, cpu = gauge.memory(), gauge.cpu()
        settled = writes(stack.relinkd)
        os.kill(gauge.pid, signal.SIGSTOP)
        list(pool.map(stack.client.restart, [ids[name] for name in bursting]))
        os.kill(gauge.pid, signal.SIGCONT)
        until(lambda: not wrong(), "the lines after the burst", PATIENCE)
        webs = {stack.name(f"web{number}") for number in range(3)}
        burst = writes(stack.relinkd) - settled

        with gauge.unread(lambda: stack.client.pause(ids["c0"])) as unread:
            stack.client.unpause(ids["c0"])
            begun = time.monotonic()
            with ThreadPoolExecutor(count) as at_once:
                list(at_once.map(_patient(stack).restart, ids.values()))
            over = time.monotonic()
            until(lambda: not wrong(), "the lines after the flood", PATIENCE)
            right = time.monotonic()
        # The engine takes containers off their network for some time after its last answer.
        until(lambda: _is_quiet(stack), "an engine that has no more to say", PATIENCE)
        flood = writes(stack.relinkd) - settled - burst
        by_burst, by_flood = max(burst[web] for web in webs), max(flood[web] for web in webs)
        most = gauge.memory("VmHWM")
        left = wrong()
        there = stack.client.network("bridge")["Containers"].keys()
        lost = [name for name in names if ids[name] not in there]
        running = [stack.client.inspect(ids[name])["State"]["Running"] for name in lost]
        figures = Figures(
            {
                "most writes to a recipient by the burst of ten": by_burst,
                "seconds in which the engine restarted all": round(over - begun, 1),
                "seconds until the last line was right after that": round(right - over, 2),
                "most writes to a recipient of ten by the flood": by_flood,
                "most bytes that waited in the event stream": unread[0],
                "memory before, MiB": round(before, 1),
                "most memory, MiB": round(most, 1),
                "relinkd's CPU a restart, ms": round(
                    (gauge.cpu() - cpu) * 1000 / (count + len(bursting)), 2
                ),
                "containers that the engine left without their network": len(lost),
                "of those, running": sum(running),
                "lines wrong in the end": left,
            }
        )
    assert by_burst <= 2, figures
    # One that the engine connects, and then takes off again, is a third write.
    assert by_flood <= 2 * len(bursting) + len({*lost} & {*bursting}), figures
    assert unread[0] < BUFFER / 2, figures
    assert most < before + GROWTH, figures
    assert not left, figures
    return figures


@trial("A crash loop", short=10, full=500, unit="crashes of the source")
def crash_loop(ground: Ground, count: int) -> Figures:
    """A source ends as soon as it has begun and is started again at once. Another is restarted by
    its policy as fast as the engine can. Promised: each crash costs the recipient at most two
    writes, and memory stays bounded. In the end, with the source running, its line is right.
    """
    with ground.stack(BY_EVENTS_ALONE, "--log-level=debug", within=INSIDE) as stack:
        crashes = ["sh", "-c", "test -e /stay && exec sleep 1000000; exit 3"]
        db = stack.create(ALIAS, cmd=crashes)
        web = stack.run("web", f"{ALIAS} policy")
        own_start = {"recipient": stack.name("web"), "of": stack.name("web"), "cause": "start"}
        until(lambda: stack.relinkd.log("delivery.tried", **own_start), "the recipient's own start")
        settled = writes(stack.relinkd)  # the engine writes the file, too, while web starts
        stack.run("policy", cmd=["false"], restart="always")
        gauge = Gauge.of(stack.relinkd)
        before, cpu = gauge.memory(), gauge.cpu()
        begun = time.monotonic()
        for _ in range(count):
            stack.client.start(db)
            until(lambda: not stack.client.inspect(db)["State"]["Running"], "the crash")
        took = time.monotonic() - begun
        spent = gauge.cpu() - cpu
        own = stack.client.inspect(stack.name("policy"))["RestartCount"]
        stack.client.remove(stack.name("policy"))
        status, _ = stack.client.raw("PUT", f"/containers/{db}/archive?path=/", _stay())
        assert status == 200
        stack.client.start(db)
        stack.await_lookup(web, ALIAS, stack.address(db))
        written = (writes(stack.relinkd) - settled)[stack.name("web")]
        said, most = len(stack.relinkd.log()), gauge.memory("VmHWM")
        figures = Figures(
            {
                "restarts by the engine's policy beside them": own,
                "crashes a second": round(count / took, 1),
                "writes to the recipient a crash": round(written / (count + own), 2),
                "relinkd's CPU a crash, ms": round(spent * 1000 / (count + own), 2),
                "memory before, MiB": round(before, 1),
                "most memory, MiB": round(most, 1),
                "lines logged, of debug too": said,
            }
        )
    assert written <= 2 * (count + own + 2), figures
    assert most < before + GROWTH, figures
    return figures


@trial("A flood of other events", short=2000, full=100_000, unit="events of other kinds")
def foreign_flood(ground: Ground, count: int) -> Figures:
    """Health checks and the like make events as fast as the engine accepts the requests for them,
    while a linked source restarts again and again. Promised: by events alone, its line is right
    after each restart; the engine's buffer for relinkd never runs full; memory does not grow.
    """
    with ground.stack(BY_EVENTS_ALONE, within=INSIDE) as stack:
        db = stack.run(ALIAS)
        web = stack.run("web", ALIAS)
        noisy = stack.run("noisy")
        stack.await_lookup(web, ALIAS, stack.address(db))
        gauge = Gauge.of(stack.relinkd)
        before, cpu = gauge.memory(), gauge.cpu()
        with (
            gauge.unread(lambda: stack.client.pause(noisy)) as unread,
            ThreadPoolExecutor(3) as pool,
        ):
            stack.client.unpause(noisy)
            begun = time.monotonic()
            floods = [pool.submit(_make_events, stack, noisy, count // 3 + 1) for _ in range(3)]
            restarts = 0
            while not all(flood.done() for flood in floods):
                stack.client.restart(db)
                stack.await_lookup(web, ALIAS, stack.address(db))
                restarts += 1
            made = sum(flood.result() for flood in floods)
            took = time.monotonic() - begun
        most = gauge.memory("VmHWM")
        figures = Figures(
            {
                "events a minute": round(made / took * 60),
                "restarts of the source meanwhile, each line right": restarts,
                "most bytes that waited in the event stream": unread[0],
                "relinkd's CPU meanwhile, % of a core": round((gauge.cpu() - cpu) / took * 100, 2),
                "memory before, MiB": round(before, 1),
                "most memory, MiB": round(most, 1),
            }
        )
    assert restarts > 0, figures
    assert unread[0] < BUFFER / 2, figures
    assert most < before + GROWTH / 4, figures
    return figures


@trial(
    "Ten thousand containers",
    short=300,
    full=10_000,
    unit="containers, all restarted in one burst",
    engines=(FAKE,),
)
def ten_thousand(ground: Ground, count: int) -> Figures:
    """A fake engine, because it can hold so many: networks of a hundred containers, each
    linked to the next five. All restart as fast as the fake can. Promised: by events alone, every
    line is right in the end, and memory stays within 200 MiB.
    """
    world = World(max(1, count // 100), min(count, 100))
    with (
        Apart(Stage, ground.folder, world) as stage,
        ground.on_fake(BY_EVENTS_ALONE, within=INSIDE) as relinkd,
    ):
        gauge = Gauge.of(relinkd)
        before, cpu = gauge.memory(), gauge.cpu()
        begun = time.monotonic()
        stage.call("restart_all")
        over = time.monotonic()
        until(lambda: not stage.call("wrong"), "the last line", PATIENCE)
        most, left = gauge.memory("VmHWM"), stage.call("wrong")
        figures = Figures(
            {
                "links": world.size * LINKS,
                "events": 4 * world.size,
                "seconds in which the engine restarted all": round(over - begun, 1),
                "seconds until the last line was right after that": round(
                    time.monotonic() - over, 1
                ),
                "relinkd's CPU a restart, ms": round((gauge.cpu() - cpu) * 1000 / world.size, 2),
                "memory before, MiB": round(before, 1),
                "most memory, MiB": round(most, 1),
                "lines wrong in the end": left,
                "warnings": len([each for each in relinkd.log() if each["level"] == "warning"]),
            }
        )
    assert not left, figures
    assert most < 200, figures
    return figures


def _make_events(stack: Stack, container: str, count: int) -> int:
    """Make events of a kind that health checks make, over one connection; return how many."""
    body = json.dumps({"Cmd": ["true"]})
    headers = {"Content-Type": "application/json"}
    path = f"/v{stack.client.api}/containers/{container}/exec"
    connection = http.client.HTTPConnection("localhost")
    with socket.socket(socket.AF_UNIX) as connection.sock:
        connection.sock.connect(str(stack.client.socket))
        for _ in range(count):
            connection.request("POST", path, body, headers)
            with connection.getresponse() as answer:
                answer.read()
                assert answer.status == http.HTTPStatus.CREATED
    return count


def _is_quiet(stack: Stack) -> bool:
    now = time.time()
    return not stack.client.events(since=now - 1, until=now)


def _patient(stack: Stack) -> Client:
    """Return a client that waits as long as an engine needs that has very much to do."""
    return Client(stack.client.socket, api=stack.client.api, timeout=PATIENCE)


def _stay() -> bytes:
    """Return an archive of a file whose being there lets the crashing source stay."""
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("stay"))
    return held.getvalue()
