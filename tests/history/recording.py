"""The record of a run on real engines: what was true, and what a third process saw in files.

What is true comes from each engine's own events and answers, with the engine's own times. One
engine alone is a host without a name.
"""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.engine.stack import ROOT
from tests.history import across
from tests.history.record import Line, read, write
from tests.lab.client import ApiError, Client
from tests.lab.connection import EventStream
from tests.lab.hosts import Host

NANO = 1e9
OF_CONTAINERS = {"type": ["container", "network"]}
WORD = re.compile(r"([^\s,:@]+(?://[^\s,:@]+)?)(?::([^\s,@]+))?(?:@[^\s,]+)?")


def declared(label: str) -> dict[str, list[str]]:
    """Return the SOURCEs by alias of a label's links."""
    links: dict[str, list[str]] = {}
    for source, alias in WORD.findall(label):
        links.setdefault(alias or source.rpartition("/")[2], []).append(source)
    return links


@dataclass
class Truth:
    """What is true of one container, as its engine says."""

    name: str
    host: str
    links: Mapping[str, list[str]]
    meant: bool = True
    """Whether any SOURCE of the recipients can mean it."""
    running: bool = False
    addresses: dict[str, list[str]] = field(default_factory=dict)

    def line(self) -> Line:
        """Return it as a record has it."""
        return {
            "name": self.name,
            "host": self.host,
            "running": self.running,
            "calls": self._calls() if self.meant else [],
            "links": dict(self.links),
            "addresses": {network: [*each] for network, each in self.addresses.items()},
        }

    def _calls(self) -> list[str]:
        if not self.host:
            return [self.name]
        return [f"//{self.name}", f"{self.host}//{self.name}"]


class Listening(threading.Thread):
    """What is true on one host: what there is at first, and then each event."""

    def __init__(
        self,
        host: str,
        client: Client,
        networks: Collection[str],
        at: float,
        *,
        meant: bool = True,
    ) -> None:
        super().__init__(daemon=True)
        self._meant = meant
        self.lines: list[Line] = []
        self._host = host
        self._client = client
        self._networks = networks
        self._known: dict[str, Truth] = {}
        self._stream: EventStream = client.stream_events(OF_CONTAINERS)
        self._look(at)

    def _look(self, at: float) -> None:
        for each in self._client.list():
            if each["Id"] not in self._known:
                self._learn(each["Id"], each["Names"][0].lstrip("/"), each["Labels"])
            self._known[each["Id"]].running = each["State"] in ("running", "paused")
        for network in self._networks:
            there = self._members(network)
            for id_, truth in self._known.items():
                if id_ in there:
                    truth.addresses[network] = [there[id_]]
                else:
                    truth.addresses.pop(network, None)
        for id_ in self._known:
            self._tell(id_, at)

    def _learn(self, id_: str, name: str, labels: Mapping[str, str]) -> None:
        links = declared(labels.get("relinkd.links", ""))
        self._known[id_] = Truth(name, self._host, links, self._meant)

    def _members(self, network: str) -> dict[str, str]:
        try:
            answer = self._client.network(network)
        except ApiError:  # a worker of a Swarm without a container on it
            return {}
        there = answer["Containers"] or {}
        found = ((id_, each["IPv4Address"]) for id_, each in there.items())
        return {id_: address.partition("/")[0] for id_, address in found if address}

    def run(self) -> None:
        for event in self._stream:
            self._take(event["Type"], event["Action"], event["Actor"], event["timeNano"] / NANO)

    def _take(self, kind: str, action: str, actor: Mapping[str, Any], at: float) -> None:
        given = actor["Attributes"]
        if kind == "container":
            if actor["ID"] not in self._known:
                self._learn(actor["ID"], given["name"], given)
            match action:
                case "start" | "die":
                    self._known[actor["ID"]].running = action == "start"
                    self._tell(actor["ID"], at)
                case "rename":
                    self._known[actor["ID"]].name = given["name"]
                    self._tell(actor["ID"], at)
                case "destroy":
                    del self._known[actor["ID"]]
                    self.lines.append({"at": at, "kind": "is", "id": actor["ID"]})
            return
        network, id_ = given["name"], given.get("container", "")
        if network in self._networks and id_ in self._known and action in ("connect", "disconnect"):
            addresses = self._known[id_].addresses
            addresses.pop(network, None)
            if action == "connect" and id_ in (there := self._members(network)):
                addresses[network] = [there[id_]]
            self._tell(id_, at)

    def _tell(self, id_: str, at: float) -> None:
        self.lines.append({"at": at, "kind": "is", "id": id_, "now": self._known[id_].line()})

    def close(self, *, dead: bool = False) -> None:
        """End with what is true now: on a host that died nothing runs any more."""
        at = time.time()
        self._stream.close()
        self.join()
        if dead:
            for id_, truth in self._known.items():
                truth.running, truth.addresses = False, {}
                self._tell(id_, at)
        else:
            self._look(at)


class Recording:
    """A run that is being recorded; what befalls the hosts is done through it."""

    def __init__(
        self,
        clients: Mapping[str, Client],
        networks: Collection[str],
        strangers: Collection[str],
    ) -> None:
        self.longest: dict[str, float] = {}
        """How long the worst spell of each kind lasted, in seconds; known once it has ended."""
        self._networks = networks
        self._strangers = strangers
        self._own: list[Line] = []
        self._away: set[str] = set()
        self._past: list[Listening] = []
        at = time.time()
        self._listening = {name: self._listen(name, each, at) for name, each in clients.items()}

    def _listen(self, host: str, client: Client, at: float) -> Listening:
        meant = host not in self._strangers
        made = Listening(host, client, self._networks, at, meant=meant)
        made.start()
        return made

    def away(self, host: str, *, away: bool = True) -> None:
        """Note that others hear nothing of a host from now on, or that they do again."""
        (self._away.add if away else self._away.discard)(host)
        self._own.append({"at": time.time(), "kind": "away", "hosts": sorted(self._away)})

    def cut(self, host: Host) -> None:
        """Cut a host off."""
        self.away(host.name)
        host.cut()

    def join(self, host: Host) -> None:
        """Join it again."""
        host.join()
        self.away(host.name, away=False)

    def lose_power(self, host: Host) -> None:
        """Kill all of a host at once."""
        self.away(host.name)
        host.lose_power()
        listening = self._listening.pop(host.name)
        listening.close(dead=True)
        self._past.append(listening)

    def power_up(self, host: Host) -> None:
        """Start its engine again; it is away until its relinkd is said to be back."""
        host.start()
        self._listening[host.name] = self._listen(host.name, host.client, time.time())

    def end(self) -> list[Line]:
        """Stop, and return what was true from the beginning to the end."""
        for listening in self._listening.values():
            listening.close()
        every = [self._own, *(each.lines for each in (*self._past, *self._listening.values()))]
        return [line for lines in every for line in lines]


@contextmanager
def recording(
    clients: Mapping[str, Client],
    networks: Collection[str],
    files: Mapping[str, Path],
    folder: Path,
    *,
    bound: float,
    back: float | None = None,
    strangers: Collection[str] = (),
) -> Iterator[Recording]:
    """Record what happens in the block, and fail if it breaks a promise.

    Args:
        clients: Of each host's engine, by the host's name.
        networks: The names of the networks whose addresses count.
        files: The hosts files of recipients, by their ID.
        folder: For the record.
        bound: Seconds within which every link follows.
        back: Seconds within which an alias is there again; the bound by default.
        strangers: Hosts whose containers may be no source of the recipients.
    """
    seen, path = folder / "seen.jsonl", folder / "record.jsonl"
    argv = [sys.executable, "-m", "tests.history.sampler", str(seen)]
    argv += [f"{owner}={path}" for owner, path in files.items()]
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True) as sampler:
        assert sampler.stdout is not None
        assert sampler.stdout.readline() == "ready\n"
        made = Recording(clients, networks, strangers)
        try:
            yield made
        finally:
            sampler.terminate()
            truth = made.end()
            sampler.wait()
            lines = sorted([*truth, *read(seen)], key=lambda line: float(line["at"]))
            lines.append({"at": time.time(), "kind": "end"})
            write(path, lines)
    assert {line["owner"] for line in lines if line["kind"] == "file"} == {*files}
    broken = across.check(lines, bound=bound, back=back)
    assert not broken, "\n".join([f"{path}:", *map(str, broken)])
    made.longest = across.longest(lines, bound=bound)
    print({kind: round(each, 3) for kind, each in made.longest.items()})
