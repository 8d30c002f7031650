"""What an event costs, counted in questions to the engine, however many wait for the answer."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import anyio
import pytest

from tests.builders import container, network
from tests.clock import turns
from tests.fakes.engine import FakeEngine
from tests.fakes.generations import GENERATIONS
from tests.faults.watched import Watched, running, until
from watchers.engine import Engine
from watchers.model import Hint, ListAnswer
from watchers.session import Session


async def quiet(fake: FakeEngine) -> None:
    """Wait until nothing has been asked for a while."""
    asked = -1
    while asked != len(fake.requests):
        asked = len(fake.requests)
        await anyio.sleep(0.1)


def questions(fake: FakeEngine) -> Counter[str]:
    """Count what was asked, by kind, since the requests were cleared."""
    return Counter(
        request.url.split("/")[1] for request in fake.requests if request.method == "GET"
    )


async def restarted(fake: FakeEngine, watched: Watched, db: str) -> Counter[str]:
    """Restart a container; count what was asked until its new address was known."""
    await quiet(fake)
    fake.requests.clear()
    before = watched.mirror.containers[db].started
    await anyio.to_thread.run_sync(fake.client.restart, db)
    await until(lambda: watched.mirror.containers[db].started != before)
    await until(lambda: watched.state("db") == "running")
    await quiet(fake)
    return questions(fake)


@pytest.mark.parametrize("generation", GENERATIONS)
@pytest.mark.parametrize("recipients", [1, 30])
async def test_a_restart_asks_for_the_source_and_its_networks_alone(
    generation: str, recipients: int, tmp_path: Path
) -> None:
    with FakeEngine(generation, socket=tmp_path / "s", root=tmp_path) as fake:
        for name in ("back", "front"):
            fake.client.network_create(name)
        db = fake.client.create("db", network="back")
        fake.client.connect("front", db)
        fake.client.start(db)
        for number in range(recipients):
            labels = {"relinkd.links": "db"}
            fake.client.start(fake.client.create(f"web{number}", network="back", labels=labels))
        async with running(f"unix://{tmp_path}/s") as watched:
            await watched.looks(1)
            asked = await restarted(fake, watched, db)
            assert asked == {"networks": 2, "containers": 1}
            assert len(watched.mirror.endpoints(db)) == 2


async def test_only_the_start_that_is_awaited_is_asked_after(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A source that restarts again and again is `starting` whenever an earlier wait is over."""
    monkeypatch.setattr("watchers.session.UNSTARTED", 0)
    watched, db, back = Watched(), container("db"), network("back")
    watched.mirror.apply_answer(ListAnswer(watched.mirror.next_revision(), (db,)))
    asked: list[tuple[str, str]] = []
    async with anyio.create_task_group() as tasks:
        engine = cast(Engine, SimpleNamespace(is_podman=False))
        session = Session(engine, watched.mirror, watched, tasks)
        monkeypatch.setattr(session, "ask", lambda kind, subject, _: asked.append((kind, subject)))
        session.hear(Hint("die", db.id))
        session.hear(Hint("connect", db.id, back.id, 1))
        session.hear(Hint("start", db.id))
        session.hear(Hint("die", db.id))
        session.hear(Hint("connect", db.id, back.id, 2))
        asked.clear()
        await turns()
    assert asked == [("container", db.id)]
