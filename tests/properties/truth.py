"""An engine as a model: what is, the events that tell of it, and moves that change it."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import strategies as st

from tests.builders import compose, container, id_of, listed, network
from watchers.model import (
    Answer,
    Container,
    ContainerAnswer,
    Endpoint,
    Hint,
    ListAnswer,
    ListedAnswer,
    Network,
    NetworkAnswer,
    NetworkListAnswer,
)

Question = tuple[str, str]
"""Kind and subject, as `Session` has them, and ("list", "") and ("networks", "")."""


@dataclass(slots=True)
class Truth:
    """An engine: what is, and the events that tell of it."""

    containers: dict[str, Container] = field(default_factory=dict)
    networks: dict[str, Network] = field(default_factory=dict)
    endpoints: dict[str, dict[str, Endpoint]] = field(default_factory=dict)
    starting: dict[str, list[str]] = field(default_factory=dict)
    """Networks yet to connect of the containers that are on their way up."""
    stopping: set[str] = field(default_factory=set)
    events: list[Hint] = field(default_factory=list)
    now: int = 0

    def say(self, action: str, who: str = "", where: str = "", old_name: str = "") -> None:
        one = self.containers.get(who)
        name, labels = (one.name, one.labels) if one else ("", {})
        self.events.append(Hint(action, who, where, self.now, name, old_name, labels))

    def change(self, who: str, **values: Any) -> None:
        self.containers[who] = replace(self.containers[who], **values)

    def act(self, what: int, which: int, other: int) -> None:
        """Do the `what`-th thing with the `which`-th container, if it can be done."""
        self.now += 1
        if what >= 8:
            self.act_on_network(what, which, other)
            return
        if what == 0 or not self.containers:
            self.create(which, other)
            return
        who = sorted(self.containers)[which % len(self.containers)]
        one = self.containers[who]
        if who in self.starting:
            self.go_on_starting(who, fail=what == 7)
        elif who in self.stopping:
            self.go_on_stopping(who, other)
        elif what == 1:
            self.rename(who, other)
        elif one.state in ("created", "exited"):
            self.start_or_remove(who, remove=what == 2)
        elif what == 3:
            self.change(who, state="paused" if one.state == "running" else "running")
            self.say("pause" if one.state == "running" else "unpause", who)
        elif what == 4 and one.detail is not None and one.detail.health is not None:
            health = "unhealthy" if one.detail.health == "healthy" else "healthy"
            self.change(who, detail=replace(one.detail, health=health))
            self.say(f"health_status: {health}", who)
        else:
            self.stopping.add(who)
            self.go_on_stopping(who, other)

    def create(self, which: int, other: int) -> None:
        if len(self.containers) >= 5:
            return
        name = f"c{which % 6}"
        if any(each.name == name for each in self.containers.values()):
            return
        on = [each for at, each in enumerate(self.networks.values()) if other >> at & 1]
        mode = "default"
        if other % 5 == 0 and self.containers:
            mode, on = f"container:{min(self.containers)}", []
        one = container(
            name,
            links=f"c{other % 6}:db,c1" if other % 3 else None,
            labels=compose("shop", "s") if other % 4 == 0 else {},
            id_=id_of(f"{name} at {self.now}"),
            state="created",
            created=self.now * 10**9,
            started=0,
            mode=mode,
            dns={each.name: [name, "db"] for each in on},
            engine_links=["c0:c1"] if other % 7 == 0 else [],
            health="starting" if other % 2 else None,
        )
        self.containers[one.id] = one
        self.say("create", one.id)

    def start_or_remove(self, who: str, *, remove: bool) -> None:
        if remove:
            one = self.containers[who]
            self.events.append(Hint("destroy", who, "", self.now, one.name))
            del self.containers[who]
            return
        ids = {each.name: each.id for each in self.networks.values()}
        wanted = self.containers[who].networks
        self.starting[who] = [ids[name] for name in wanted if name in ids]
        self.go_on_starting(who, fail=False)

    def go_on_starting(self, who: str, *, fail: bool) -> None:
        if fail:
            # 29 says nothing of a failed start but its disconnects.
            self.drop_endpoints(who)
            del self.starting[who]
        elif left := self.starting[who]:
            self.join(who, left.pop(0))
        else:
            del self.starting[who]
            detail = self.containers[who].detail
            if detail is not None and detail.health is not None:
                detail = replace(detail, health="starting")
            self.change(who, state="running", started=self.now, detail=detail)
            self.say("start", who)

    def go_on_stopping(self, who: str, other: int) -> None:
        held = [net for net, members in self.endpoints.items() if who in members]
        if held and other % 2:
            self.leave(who, held[0])
            return
        self.stopping.discard(who)
        detail = self.containers[who].detail
        if detail is not None and detail.health is not None:
            detail = replace(detail, health="starting")
        if other % 4 >= 2:
            # 20.10: first the `die`, with the addresses still there, which nobody else can have.
            self.change(who, state="exited", detail=detail)
            self.say("die", who)
            self.drop_endpoints(who)
        else:
            self.drop_endpoints(who)
            self.change(who, state="exited", detail=detail)
            self.say("die", who)

    def drop_endpoints(self, who: str) -> None:
        for where, members in self.endpoints.items():
            if who in members:
                self.leave(who, where)

    def join(self, who: str, where: str) -> None:
        if where not in self.networks or who in self.endpoints[where]:
            return
        taken = {each.ipv4 for each in self.endpoints[where].values()}
        address = next(a for n in range(2, 20) if (a := f"10.0.0.{n}") not in taken)
        self.endpoints[where][who] = Endpoint(address, None)
        self.say("connect", who, where)

    def leave(self, who: str, where: str) -> None:
        del self.endpoints[where][who]
        self.say("disconnect", who, where)

    def rename(self, who: str, other: int) -> None:
        old, name = self.containers[who].name, f"c{other % 6}"
        if any(each.name == name for each in self.containers.values()):
            return
        self.change(who, name=name)
        self.say("rename", who, old_name=old)
        for each in list(self.containers.values()):
            # The engine's own links follow, without an event of theirs.
            if each.detail is not None and each.detail.links:
                links = tuple(
                    replace(link, source=name) if link.source == old else link
                    for link in each.detail.links
                )
                self.change(each.id, detail=replace(each.detail, links=links))

    def act_on_network(self, what: int, which: int, other: int) -> None:
        name = ("back", "front", "bridge")[which % 3]
        there = next((each for each in self.networks.values() if each.name == name), None)
        running = sorted(
            who
            for who, one in self.containers.items()
            if one.state == "running" and one.shares is None and who not in self.stopping
        )
        if there is None:
            new = replace(network(name), id=id_of(f"{name} at {self.now}"))
            self.networks[new.id], self.endpoints[new.id] = new, {}
            self.say("create", where=new.id)
        elif what == 8 and running:
            who = running[other % len(running)]
            if who in self.endpoints[there.id]:
                self.leave(who, there.id)
            else:
                self.join(who, there.id)
        elif what == 9 and not self.endpoints[there.id] and other % 2:
            del self.networks[there.id], self.endpoints[there.id]
            self.say("destroy", where=there.id)

    def settle(self) -> None:
        """Let every start and stop come to its end."""
        while self.starting or self.stopping:
            self.now += 1
            for who in list(self.starting):
                self.go_on_starting(who, fail=False)
            for who in list(self.stopping):
                self.go_on_stopping(who, 0)

    def answer(self, question: Question, revision: int) -> Answer | None:
        """What the engine says now; None where it makes the asker wait."""
        kind, subject = question
        if kind == "list":
            return ListAnswer(revision, tuple(map(listed, self.containers.values())))
        if kind == "networks":
            return NetworkListAnswer(revision, frozenset(self.networks))
        if kind == "network":
            members = dict(self.endpoints.get(subject, {}))
            return NetworkAnswer(subject, revision, self.networks.get(subject), members)
        if kind == "listed":
            one = self.containers.get(subject)
            return ListedAnswer(subject, revision, listed(one) if one else None)
        if subject in self.starting:
            return None
        return ContainerAnswer(subject, revision, self.containers.get(subject))


Moves = list[tuple[int, int, int, int]]
small = st.integers(0, 15)
moves = st.lists(
    st.tuples(st.integers(0, 9), st.integers(0, 9), small, small), min_size=20, max_size=60
)
start = st.lists(st.tuples(st.integers(0, 9), small, small), min_size=10, max_size=25)


def begin(acts: Iterable[tuple[int, int, int]]) -> Truth:
    """An engine with a past that nobody heard of."""
    truth = Truth()
    for which in range(2):
        truth.act(8, which, 0)
    for what, which, other in acts:
        truth.act(what, which, other)
    truth.events.clear()
    return truth


def subject(truth: Truth, which: int, other: int) -> Question:
    networks, containers = sorted(truth.networks), sorted(truth.containers)
    if which % 8 == 0:
        return "list", ""
    if which % 8 == 1:
        return "networks", ""
    if which % 2 and containers:
        return "container", containers[other % len(containers)]
    return "network", networks[other % len(networks)] if networks else "none"
