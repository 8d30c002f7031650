"""Whatever comes in whatever order: after a full look the mirror is the truth, and never ahead.

The truth is an engine in memory that acts one instant at a time, as the real ones do: networks
connect one by one before `start`, a list says `exited` meanwhile, an inspect waits for the end.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field, replace
from unittest.mock import patch

from anyio import create_task_group
from anyio.abc import TaskGroup
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.graph import LinkGraph
from reconciler.core.resolve import Desired, desired
from tests.builders import compose, container, id_of, listed, network, patient
from watchers.errors import EngineFailedError
from watchers.mirror import Mirror
from watchers.model import (
    Answer,
    Container,
    ContainerAnswer,
    Endpoint,
    Hint,
    ListAnswer,
    Network,
    NetworkAnswer,
    NetworkListAnswer,
)
from watchers.observer import ROLLING, Nobody, Session

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

    def change(self, who: str, **values: object) -> None:
        self.containers[who] = replace(self.containers[who], **values)  # type: ignore[arg-type]

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

    def answer(self, question: Question, asked: int) -> Answer | None:
        """What the engine says now; None where it makes the asker wait."""
        kind, subject = question
        if kind == "list":
            return ListAnswer(asked, tuple(map(listed, self.containers.values())))
        if kind == "networks":
            return NetworkListAnswer(asked, frozenset(self.networks))
        if kind == "network":
            members = dict(self.endpoints.get(subject, {}))
            return NetworkAnswer(subject, asked, self.networks.get(subject), members)
        if subject in self.starting:
            return None
        return ContainerAnswer(subject, asked, self.containers.get(subject))


def files(mirror: Mirror) -> dict[str, Desired]:
    graph = LinkGraph()
    graph.affected(list(mirror.containers), mirror)
    owners = (each for each in mirror.containers.values() if each.shares is None)
    return {owner.id: desired(owner, graph, mirror) for owner in owners}


def full_look(truth: Truth, mirror: Mirror) -> None:
    asked = mirror.ask()
    told = [truth.answer((kind, ""), asked) for kind in ("list", "networks")]
    told += [truth.answer(("network", each), mirror.ask()) for each in truth.networks]
    told += [truth.answer(("container", each), mirror.ask()) for each in truth.containers]
    for answer in told:
        assert answer is not None
        mirror.learn(answer)


def check_is_truth(mirror: Mirror, truth: Truth) -> None:
    """The mirror, its indexes and every file that follows are those of one that looked once."""
    fresh = Mirror()
    full_look(truth, fresh)
    assert mirror.containers == fresh.containers == truth.containers
    assert mirror.networks == fresh.networks == truth.networks
    for where, members in truth.endpoints.items():
        assert dict(mirror.members(where)) == members
    for who in truth.containers:
        assert dict(mirror.endpoints(who)) == dict(fresh.endpoints(who))
    for name in [*(f"c{n}" for n in range(6)), "db", "s"]:
        assert mirror.named(name) == fresh.named(name)
        assert mirror.answering(name) == fresh.answering(name)
        assert mirror.linking(name) == fresh.linking(name)
        assert mirror.replicas("shop", name) == fresh.replicas("shop", name)
    for who in truth.containers:
        assert mirror.sharers(who) == fresh.sharers(who)
    assert files(mirror) == files(fresh)


class Witness:
    """Remembers every withdrawal and grant, and what may be in the mirror by them."""

    def __init__(self, mirror: Mirror) -> None:
        self.mirror = mirror
        self.withdrawn: dict[tuple[str, str], int] = {}
        self.died: dict[str, int] = {}
        self.destroyed: dict[str, int] = {}
        self.newest: dict[str, NetworkAnswer] = {}

    def withdraw(self, hint: Hint) -> None:
        self.mirror.withdraw(hint)
        stamp = self.mirror.ask()
        if hint.action == "disconnect":
            self.withdrawn[hint.network, hint.container] = stamp
        elif hint.action == "destroy" and hint.network:
            self.destroyed[hint.network] = stamp
        elif hint.action in ("die", "destroy"):
            self.died[hint.container] = stamp
        self.check()

    def learn(self, answer: Answer) -> None:
        self.mirror.learn(answer)
        if isinstance(answer, NetworkAnswer):
            newest = self.newest.get(answer.id)
            if newest is None or newest.asked < answer.asked:
                self.newest[answer.id] = answer
        self.check()

    def check(self) -> None:
        """Each endpoint is that of the newest answer, asked after each withdrawal handled."""
        for who in {id_ for net in self.newest for id_ in self.mirror.members(net)}:
            for where, endpoint in self.mirror.endpoints(who).items():
                newest = self.newest[where]
                assert newest.endpoints.get(who) == endpoint
                assert newest.asked > self.withdrawn.get((where, who), 0)
                assert newest.asked > self.died.get(who, 0)
                assert newest.asked > self.destroyed.get(where, 0)


class Questions:
    """Questions on their way: asked, then answered at some instant, then here."""

    def __init__(self, truth: Truth, witness: Witness) -> None:
        self._truth, self._witness = truth, witness
        self._asked: list[tuple[Question, int]] = []
        self._answered: list[Answer] = []

    def ask(self, question: Question) -> None:
        self._asked.append((question, self._witness.mirror.ask()))

    def answer(self, which: int) -> None:
        if self._asked:
            at = which % len(self._asked)
            said = self._truth.answer(*self._asked[at])
            if said is not None:
                self._answered.append(said)
                del self._asked[at]

    def arrive(self, which: int) -> None:
        if self._answered:
            self._witness.learn(self._answered.pop(which % len(self._answered)))

    def arrive_all(self) -> None:
        for _ in range(len(self._asked)):
            self.answer(0)
        while self._answered:
            self.arrive(-1)


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


class Stage:
    """The engine acts, its events come doubled, late or never, and answers in any order."""

    def __init__(self, truth: Truth, witness: Witness, questions: Questions) -> None:
        self._truth, self._witness, self._questions = truth, witness, questions
        self._late: list[Hint] = []

    def play(self, script: Moves) -> None:
        for move, what, which, other in script:
            if move <= 2:
                self._truth.act(what, which, other)
            elif move <= 5 and self._truth.events:
                self._hear(self._truth.events.pop(0), what)
            elif move == 6 and self._late:
                self._witness.withdraw(self._late.pop(which % len(self._late)))
            elif move == 7:
                self._questions.ask(subject(self._truth, which, other))
            elif move == 8:
                self._questions.answer(which)
            elif move == 9:
                self._questions.arrive(which)

    def _hear(self, hint: Hint, what: int) -> None:
        if what == 8:
            self._late.append(hint)
        elif what != 9:
            for _ in range(2 if what == 7 else 1):
                self._witness.withdraw(hint)
        if hint.action == "connect" and what % 2:
            self._questions.ask(("network", hint.network))


@patient(max_examples=400)
@given(start, moves, st.booleans())
def test_a_full_look_is_the_truth_whatever_came_before_it_and_comes_late(
    past: list[tuple[int, int, int]],
    script: Moves,
    lost: bool,  # noqa: FBT001 - drawn
) -> None:
    truth = begin(past)
    witness = Witness(Mirror())
    full_look_witnessed(truth, witness)
    questions = Questions(truth, witness)
    Stage(truth, witness, questions).play(script)
    truth.settle()
    for hint in () if lost else truth.events:
        witness.withdraw(hint)
    full_look_witnessed(truth, witness)
    check_is_truth(witness.mirror, truth)
    # Answers to questions asked before the look change nothing any more.
    questions.arrive_all()
    check_is_truth(witness.mirror, truth)


def full_look_witnessed(truth: Truth, witness: Witness) -> None:
    mirror = witness.mirror
    asked = mirror.ask()
    questions: list[tuple[Question, int]] = [(("list", ""), asked), (("networks", ""), asked)]
    questions += [(("network", each), mirror.ask()) for each in truth.networks]
    questions += [(("container", each), mirror.ask()) for each in truth.containers]
    for question, number in questions:
        answer = truth.answer(question, number)
        if answer is not None:
            witness.learn(answer)


# -- through the observer's session ---------------------------------------------------------------


class Scripted:
    """An engine for `Session`: each question waits until the test lets it land."""

    def __init__(self, truth: Truth) -> None:
        self.truth = truth
        self.waiting: dict[Question, tuple[int, asyncio.Future[Answer]]] = {}
        self.asked = Counter[Question]()
        self.was_asked = asyncio.Event()

    async def _ask(self, kind: str, subject: str, asked: int) -> Answer:
        question = kind, subject
        assert question not in self.waiting, f"{kind} {subject} is asked twice at once"
        self.asked[question] += 1
        self.was_asked.set()
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.waiting[question] = asked, future
        try:
            return await future
        finally:
            del self.waiting[question]

    async def network(self, network: str, asked: int) -> Answer:
        return await self._ask("network", network, asked)

    async def container(self, container: str, asked: int) -> Answer:
        return await self._ask("container", container, asked)

    async def containers(self, asked: int) -> Answer:
        return await self._ask("list", "", asked)

    async def networks(self, asked: int) -> Answer:
        return await self._ask("networks", "", asked)

    async def land(self, which: int) -> bool:
        """Answer a question with what is true now; return whether one could be."""
        ready = [
            (future, answer)
            for question, (asked, future) in sorted(self.waiting.items())
            if not future.done() and (answer := self.truth.answer(question, asked))
        ]
        if ready:
            future, answer = ready[which % len(ready)]
            future.set_result(answer)
        await let_run()
        return bool(ready)

    async def land_all(self) -> None:
        await let_run()
        while await self.land(0):
            pass


async def let_run() -> None:
    """Let every task go on until it waits for something from outside."""
    for _ in range(8):
        await asyncio.sleep(0)


class Running:
    """A session over a scripted engine."""

    def __init__(self, truth: Truth, tasks: TaskGroup) -> None:
        self.engine = Scripted(truth)
        self.truth = truth
        self.mirror = Mirror()
        self.tasks = tasks
        self.session = Session(self.engine, self.mirror, Nobody(), tasks)  # type: ignore[arg-type]

    async def look(self, turn: int = 0) -> None:
        looking = asyncio.ensure_future(self.session.look(turn, patience=None))
        while not looking.done():
            await self.engine.land_all()
        await looking


def run_session(truth: Truth, then: Callable[[Running], Coroutine[None, None, None]]) -> None:
    async def main() -> None:
        async with create_task_group() as tasks:
            running = Running(truth, tasks)
            await running.look()
            await then(running)
            tasks.cancel_scope.cancel()

    asyncio.run(main())


def check_who_is_where(mirror: Mirror, truth: Truth) -> None:
    """What addresses hang on; an inspect's details come round with the resyncs."""
    assert mirror.containers.keys() == truth.containers.keys()
    for who, one in truth.containers.items():
        known = mirror.containers[who]
        assert (known.name, known.state, known.labels) == (one.name, one.state, one.labels)
    assert mirror.networks == truth.networks
    for where, members in truth.endpoints.items():
        assert dict(mirror.members(where)) == members


# Whether a start ever comes is asked at once below: the engine here keeps the asker waiting.


@patient(max_examples=100)
@given(start, moves)
def test_the_events_alone_lead_a_session_to_the_truth(
    past: list[tuple[int, int, int]], script: Moves
) -> None:
    truth = begin(past)
    truth.settle()
    truth.events.clear()

    async def follow(running: Running) -> None:
        for move, what, which, other in script:
            if move <= 3:
                truth.act(what, which, other)
            elif move <= 6 and truth.events:
                hint = truth.events.pop(0)
                for _ in range(2 if what == 9 else 1):
                    running.session.hear(hint)
                await let_run()
            else:
                await running.engine.land(which)
        truth.settle()
        for hint in truth.events:
            running.session.hear(hint)
        await running.engine.land_all()
        assert not running.engine.waiting
        check_who_is_where(running.mirror, truth)

    with patch("watchers.observer.UNSTARTED", 0.0):
        run_session(truth, follow)


@patient(max_examples=100)
@given(start, moves)
def test_events_may_be_lost_or_late_if_a_look_follows(
    past: list[tuple[int, int, int]], script: Moves
) -> None:
    truth = begin(past)
    truth.settle()
    truth.events.clear()

    async def follow(running: Running) -> None:
        late: list[Hint] = []
        for move, what, which, other in script:
            if move <= 3:
                truth.act(what, which, other)
            elif move <= 6 and truth.events:
                hint = truth.events.pop(0)
                if what in (7, 8):
                    late.append(hint)
                elif what != 9:
                    running.session.hear(hint)
                if late and what == 6:
                    running.session.hear(late.pop(which % len(late)))
                await let_run()
            else:
                await running.engine.land(which)
        truth.settle()
        await running.look(1)
        await running.engine.land_all()
        check_who_is_where(running.mirror, truth)

    with patch("watchers.observer.UNSTARTED", 0.0):
        run_session(truth, follow)


def two_up() -> Truth:
    """`c0` and `c1`, running on `back` and `front`."""
    truth = Truth()
    for which in range(2):
        truth.act(8, which, 0)
    for which in range(2):
        truth.create(which, 3)
    for who in list(truth.containers):
        truth.start_or_remove(who, remove=False)
    truth.settle()
    truth.events.clear()
    return truth


def hints_of(truth: Truth, *acts: Callable[[], object]) -> Sequence[Hint]:
    for act in acts:
        act()
    found = list(truth.events)
    truth.events.clear()
    return found


class TestSession:
    def test_a_hint_while_a_question_is_in_flight_leads_to_one_more_after(self) -> None:
        truth = two_up()
        who, where = min(truth.containers), min(truth.networks)
        question = "network", where

        async def follow(running: Running) -> None:
            before = running.engine.asked[question]
            hint = Hint("connect", who, where)
            running.session.hear(hint)
            await let_run()
            assert running.engine.asked[question] == before + 1
            for _ in range(5):
                running.session.hear(hint)
                await let_run()
            assert running.engine.asked[question] == before + 1
            await running.engine.land_all()
            assert running.engine.asked[question] == before + 2
            assert not running.engine.waiting

        run_session(truth, follow)

    def test_a_burst_before_it_is_sent_is_one_question(self) -> None:
        truth = two_up()
        where = min(truth.networks)

        async def follow(running: Running) -> None:
            before = running.engine.asked["network", where]
            for who in truth.containers:
                running.session.hear(Hint("connect", who, where))
            await running.engine.land_all()
            assert running.engine.asked["network", where] == before + 1

        run_session(truth, follow)

    def test_a_restart_costs_one_question_and_one_a_network(self) -> None:
        truth = two_up()
        who = min(truth.containers)

        async def follow(running: Running) -> None:
            before = running.engine.asked.total()
            truth.stopping.add(who)
            truth.settle()
            truth.start_or_remove(who, remove=False)
            truth.settle()
            heard = hints_of(truth)
            assert [hint.action for hint in heard].count("connect") == 2
            for hint in heard:
                running.session.hear(hint)
                await running.engine.land_all()
            assert running.engine.asked.total() - before <= 1 + 2
            check_who_is_where(running.mirror, truth)

        run_session(truth, follow)

    def test_a_failed_question_is_asked_again_by_itself(self) -> None:
        truth = two_up()
        who, where = min(truth.containers), min(truth.networks)
        question = "network", where

        async def follow(running: Running) -> None:
            before = running.engine.asked[question]
            running.session.hear(Hint("connect", who, where))
            await let_run()
            _, future = running.engine.waiting[question]
            future.set_exception(EngineFailedError("500"))
            await let_run()
            assert question not in running.engine.waiting
            running.engine.was_asked.clear()
            await running.engine.was_asked.wait()
            assert running.engine.asked[question] == before + 2
            await running.engine.land_all()

        run_session(truth, follow)

    def test_a_hint_while_a_failed_question_rests_is_asked_at_once(self) -> None:
        truth = two_up()
        who, where = min(truth.containers), min(truth.networks)
        question = "network", where

        async def follow(running: Running) -> None:
            running.session.hear(Hint("connect", who, where))
            await let_run()
            running.engine.waiting[question][1].set_exception(EngineFailedError("500"))
            await let_run()
            running.session.hear(Hint("connect", who, where))
            await let_run()
            assert question in running.engine.waiting
            await running.engine.land_all()

        run_session(truth, follow)

    def test_one_that_hangs_delays_only_itself(self) -> None:
        truth = two_up()
        first, second = sorted(truth.containers)

        async def follow(running: Running) -> None:
            truth.starting[first] = []  # its inspect is blocked from here on
            for who in (first, second):
                running.session.hear(Hint("rename", who, name=truth.containers[who].name))
            await running.engine.land_all()
            assert set(running.engine.waiting) == {("container", first)}
            truth.settle()
            await running.engine.land_all()

        run_session(truth, follow)

    def test_a_look_ends_a_start_that_failed_unheard(self) -> None:
        truth = two_up()
        who = min(truth.containers)
        truth.stopping.add(who)
        truth.settle()

        async def follow(running: Running) -> None:
            truth.start_or_remove(who, remove=False)
            for hint in hints_of(truth):
                running.session.hear(hint)
            await running.engine.land_all()
            assert running.mirror.containers[who].state == "starting"
            truth.go_on_starting(who, fail=True)
            truth.events.clear()
            await running.look(1 + hash(who) % ROLLING)  # not the turn of it anyway
            check_who_is_where(running.mirror, truth)

        run_session(truth, follow)

    def test_health_that_comes_before_the_inspect_is_asked_for(self) -> None:
        truth = two_up()
        who = min(truth.containers)

        async def follow(running: Running) -> None:
            running.mirror.withdraw(Hint("destroy", who))
            running.session.hear(Hint("create", who, name="c0"))
            await let_run()
            # The answer was true a moment before the event.
            asked, future = running.engine.waiting["container", who]
            old = truth.answer(("container", who), asked)
            assert old is not None
            detail = truth.containers[who].detail
            assert detail is not None
            truth.change(who, detail=replace(detail, health="healthy"))
            running.session.hear(Hint("health_status: healthy", who))
            future.set_result(old)
            await running.engine.land_all()
            known = running.mirror.containers[who].detail
            assert known is not None
            assert known.health == "healthy"

        run_session(truth, follow)
