"""A session is led to the truth by events alone, and by a look where events were lost."""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from unittest.mock import patch

from anyio import create_task_group
from anyio.abc import TaskGroup
from hypothesis import given

from tests.builders import patient
from tests.properties.truth import Moves, Question, Truth, begin, moves, start
from watchers.errors import EngineFailedError
from watchers.mirror import Mirror
from watchers.model import Answer, Hint
from watchers.observer import Silent
from watchers.session import ROLLING, Session


class Scripted:
    """An engine for `Session`: each question waits until the test lets it land."""

    is_podman = False

    def __init__(self, truth: Truth) -> None:
        self.truth = truth
        self.waiting: dict[Question, tuple[int, asyncio.Future[Answer]]] = {}
        self.asked = Counter[Question]()
        self.was_asked = asyncio.Event()

    async def _ask(self, kind: str, subject: str, revision: int) -> Answer:
        question = kind, subject
        assert question not in self.waiting, f"{kind} {subject} is asked twice at once"
        self.asked[question] += 1
        self.was_asked.set()
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.waiting[question] = revision, future
        try:
            return await future
        finally:
            del self.waiting[question]

    async def network(self, network: str, revision: int) -> Answer:
        return await self._ask("network", network, revision)

    async def container(self, container: str, revision: int) -> Answer:
        return await self._ask("container", container, revision)

    async def listed(self, container: str, revision: int) -> Answer:
        return await self._ask("listed", container, revision)

    async def containers(self, revision: int) -> Answer:
        return await self._ask("list", "", revision)

    async def networks(self, revision: int) -> Answer:
        return await self._ask("networks", "", revision)

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
        self.session = Session(self.engine, self.mirror, Silent(), tasks)  # type: ignore[arg-type] # scripted

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


# Whether a start ever comes, and what a `disconnect` left, is asked at once below: the engine here
# keeps the asker waiting.
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

    with patch("watchers.session.UNSTARTED", 0.0), patch("watchers.session.LEFT", 0.0):
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

    with patch("watchers.session.UNSTARTED", 0.0), patch("watchers.session.LEFT", 0.0):
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
            running.mirror.apply_event(Hint("destroy", who))
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
