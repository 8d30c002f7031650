"""The checker finds each kind of fault that users saw: relinkd is broken that way, on purpose."""

from __future__ import annotations

import pytest

from reconciler.hosts.leased_write import ignore_sigio
from reconciler.links.desired import Desired
from tests.history import stage as stage_module
from tests.history.stage import Lie, Stage, play
from tests.history.stories import STORIES
from tests.history.view import found_in


async def nothing(*_: object) -> None:
    pass


def found(stage: Stage) -> set[str]:
    return {each.promise for each in found_in(stage)}


@pytest.fixture(autouse=True)
def without_sigio() -> None:
    ignore_sigio()


@pytest.mark.parametrize("name", STORIES)
def test_relinkd_as_it_is(name: str) -> None:
    stage = play(STORIES[name])
    assert found(stage) == set()
    again = play(STORIES[name])
    assert again.steps == stage.steps


def test_what_was_known_before_a_loss_grants(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("watchers.mirror.Mirror.lose", lambda _: None)
    monkeypatch.setattr("reconciler.loop.Loop.lost", lambda *_: None)
    stage = play(STORIES["engine-crashes"])
    assert found(stage) == {"no_grant_before_its_cause"}


def test_what_is_not_known_yet_is_taken_for_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    def wanted(want: Desired, *_: object) -> object:
        return want.lines, want.engine_lines

    monkeypatch.setattr("reconciler.hosts.records.lines_for", wanted)
    story = STORIES["restart-with-an-intruder"]
    steps = len(play(story).steps)
    lies = [Lie("failed", step) for step in range(steps // 2)]
    seen = [found(play(story, lie)) for lie in lies]
    assert set().union(*seen) == {"no_withdrawal_without_a_cause"}


def test_a_declaration_ends_without_an_event(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("watchers.session.Session._check_left", lambda *_: None)
    stage = play(STORIES["network-is-left"])
    assert found(stage) == {"nothing_undeclared_stands"}


def test_a_line_removed_is_taken_for_a_name_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reconciler.links.desired._answered_by_dns", lambda *_: False)
    stage = play(STORIES["source-falls-ill"])
    assert found(stage) == {"held_where_it_must_be"}


def test_what_was_not_heard_is_never_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    story = STORIES["source-falls-ill"]
    monkeypatch.setattr(stage_module, "RESYNC", 3600.0)
    monkeypatch.setattr(stage_module, "SETTLED", 10.0)
    truthful = play(story)
    events = [step for step, kind in enumerate(truthful.steps) if kind == "event"]
    seen = [found(play(story, Lie("hidden", step))) for step in events]
    assert "right_in_the_end" in set().union(*seen)
