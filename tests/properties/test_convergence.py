"""Whatever comes in whatever order: after a full look the mirror is the truth."""

from hypothesis import given
from hypothesis import strategies as st

from reconciler.links.desired import Desired, desired
from reconciler.links.graph import LinkGraph
from tests.builders import patient
from tests.properties.truth import Moves, Question, Truth, begin, moves, start, subject
from watchers.mirror import Mirror
from watchers.model import Answer, Hint, NetworkAnswer


def files(mirror: Mirror) -> dict[str, Desired]:
    graph = LinkGraph()
    graph.update(list(mirror.containers), mirror)
    owners = (each for each in mirror.containers.values() if each.shares is None)
    return {owner.id: desired(owner, graph, mirror) for owner in owners}


def full_look(truth: Truth, mirror: Mirror) -> None:
    asked = mirror.next_revision()
    told = [truth.answer((kind, ""), asked) for kind in ("list", "networks")]
    told += [truth.answer(("network", each), mirror.next_revision()) for each in truth.networks]
    told += [truth.answer(("container", each), mirror.next_revision()) for each in truth.containers]
    for answer in told:
        assert answer is not None
        mirror.apply_answer(answer)


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

    def apply_event(self, hint: Hint) -> None:
        self.mirror.apply_event(hint)
        stamp = self.mirror.next_revision()
        if hint.action == "disconnect":
            self.withdrawn[hint.network, hint.container] = stamp
        elif hint.action == "destroy" and hint.network:
            self.destroyed[hint.network] = stamp
        elif hint.action in ("die", "destroy"):
            self.died[hint.container] = stamp
        self.check()

    def apply_answer(self, answer: Answer) -> None:
        self.mirror.apply_answer(answer)
        if isinstance(answer, NetworkAnswer):
            newest = self.newest.get(answer.id)
            if newest is None or newest.revision < answer.revision:
                self.newest[answer.id] = answer
        self.check()

    def check(self) -> None:
        """Each endpoint is that of the newest answer, asked after each withdrawal handled."""
        for who in {id_ for net in self.newest for id_ in self.mirror.members(net)}:
            for where, endpoint in self.mirror.endpoints(who).items():
                newest = self.newest[where]
                assert newest.endpoints.get(who) == endpoint
                assert newest.revision > self.withdrawn.get((where, who), 0)
                assert newest.revision > self.died.get(who, 0)
                assert newest.revision > self.destroyed.get(where, 0)


class Questions:
    """Questions on their way: asked, then answered at some instant, then here."""

    def __init__(self, truth: Truth, witness: Witness) -> None:
        self._truth, self._witness = truth, witness
        self._asked: list[tuple[Question, int]] = []
        self._answered: list[Answer] = []

    def ask(self, question: Question) -> None:
        self._asked.append((question, self._witness.mirror.next_revision()))

    def answer(self, which: int) -> None:
        if self._asked:
            at = which % len(self._asked)
            said = self._truth.answer(*self._asked[at])
            if said is not None:
                self._answered.append(said)
                del self._asked[at]

    def arrive(self, which: int) -> None:
        if self._answered:
            self._witness.apply_answer(self._answered.pop(which % len(self._answered)))

    def arrive_all(self) -> None:
        for _ in range(len(self._asked)):
            self.answer(0)
        while self._answered:
            self.arrive(-1)


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
                self._witness.apply_event(self._late.pop(which % len(self._late)))
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
                self._witness.apply_event(hint)
        if hint.action == "connect" and what % 2:
            self._questions.ask(("network", hint.network))


@patient(max_examples=400)
@given(start, moves, st.booleans())
def test_a_full_look_is_the_truth_whatever_came_before_it_and_comes_late(
    past: list[tuple[int, int, int]],
    script: Moves,
    lost: bool,
) -> None:
    truth = begin(past)
    witness = Witness(Mirror())
    full_look_witnessed(truth, witness)
    questions = Questions(truth, witness)
    Stage(truth, witness, questions).play(script)
    truth.settle()
    for hint in () if lost else truth.events:
        witness.apply_event(hint)
    full_look_witnessed(truth, witness)
    check_is_truth(witness.mirror, truth)
    # Answers to questions asked before the look change nothing any more.
    questions.arrive_all()
    check_is_truth(witness.mirror, truth)


def full_look_witnessed(truth: Truth, witness: Witness) -> None:
    mirror = witness.mirror
    asked = mirror.next_revision()
    questions: list[tuple[Question, int]] = [(("list", ""), asked), (("networks", ""), asked)]
    questions += [(("network", each), mirror.next_revision()) for each in truth.networks]
    questions += [(("container", each), mirror.next_revision()) for each in truth.containers]
    for question, number in questions:
        answer = truth.answer(question, number)
        if answer is not None:
            witness.apply_answer(answer)
