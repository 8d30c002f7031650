"""Short histories, to be played with a lie at each step of theirs."""

from __future__ import annotations

import asyncio

from tests.history.stage import AWAY, PROJECT, SERVICE, Stage, Story

PAUSE = 0.4
"""Seconds in which what was done is over: a disconnect is asked about half a second later."""


async def restart_with_an_intruder(stage: Stage) -> None:
    """A relinkd is replaced; then a source stops, another takes its address, it starts again."""
    stage.world.networks.create({"Name": "back"})
    db = await stage.run("db", "back")
    await stage.run("web", "back", "db")
    stage.begin()
    await asyncio.sleep(PAUSE)
    await stage.end()
    await asyncio.sleep(AWAY)
    stage.begin()
    await asyncio.sleep(PAUSE)
    await stage.world.stop(db, 0)
    await stage.run("intruder", "back")
    await asyncio.sleep(PAUSE)
    await stage.world.start(db)
    await asyncio.sleep(PAUSE)


async def compose_recreates(stage: Stage) -> None:
    """Compose makes a successor, while a stranger answers to the same name on the network."""
    stage.world.networks.create({"Name": "back"})
    answers = {"Aliases": ["db"]}
    await stage.run("other-db-1", "back", labels=_of("other", "db"), endpoint=answers)
    old = await stage.run("shop-db-1", "back", labels=_of("shop", "db"), endpoint=answers)
    await stage.run("shop-web-1", "back", "db", labels=_of("shop", "web"))
    stage.begin()
    await asyncio.sleep(PAUSE)
    new = stage.create("0a1b2c_shop-db-1", "back", labels=_of("shop", "db"), endpoint=answers)
    await stage.world.stop(old, 0)
    await stage.world.remove(old, force=False)
    await stage.world.rename(new, "shop-db-1")
    await asyncio.sleep(PAUSE)
    await stage.world.start(new)
    await asyncio.sleep(PAUSE)


def _of(project: str, service: str) -> dict[str, str]:
    return {PROJECT: project, SERVICE: service, "com.docker.compose.oneoff": "False"}


async def engine_crashes(stage: Stage) -> None:
    """The engine and all containers die, and relinkd lives; another gets the source's address."""
    always = {"RestartPolicy": {"Name": "always"}}
    stage.world.networks.create({"Name": "back"})
    other = await stage.run("other", "back", host_config=always)
    db = await stage.run("db", "back")
    await stage.run("web", "back", "db:late", host_config=always)
    await stage.world.remove(other, force=True)
    await stage.run("db-too", "back", host_config=always)
    stage.begin()
    await asyncio.sleep(PAUSE)

    async def meanwhile() -> None:
        await asyncio.sleep(PAUSE)

    await stage.crash_all(meanwhile)
    await asyncio.sleep(PAUSE)
    await stage.world.start(db)
    await asyncio.sleep(PAUSE)


async def network_is_left(stage: Stage) -> None:
    """A recipient leaves the network whose endpoint link it has, for one with a stranger."""
    stage.world.networks.create({"Name": "back"})
    stage.world.networks.create({"Name": "other"})
    await stage.run("one", "back")
    await stage.run("db", "other")
    web = await stage.run("web", "back", endpoint={"Links": ["one:db"]})
    stage.begin()
    await asyncio.sleep(PAUSE)
    await stage.world.connect("other", web, {})
    await asyncio.sleep(PAUSE)
    await stage.world.disconnect("back", web, force=False)
    await asyncio.sleep(PAUSE * 5)


async def source_falls_ill(stage: Stage) -> None:
    """A source that is to be healthy is not for a while; the engine's DNS has its name."""
    stage.world.networks.create({"Name": "back"})
    db = await stage.run("db", "back", Healthcheck={"Test": ["CMD", "true"]})
    await stage.world.set_health(db, "healthy")
    await stage.run("web", "back", "db", labels={"relinkd.wait-for": "healthy"})
    stage.begin()
    await asyncio.sleep(PAUSE)
    await stage.world.set_health(db, "unhealthy")
    await asyncio.sleep(PAUSE)
    await stage.world.set_health(db, "healthy")
    await asyncio.sleep(PAUSE)


STORIES: dict[str, Story] = {
    story.__name__.replace("_", "-"): story
    for story in (
        source_falls_ill,
        restart_with_an_intruder,
        compose_recreates,
        engine_crashes,
        network_is_left,
    )
}
"""By name, the shortest first."""
