"""What `--listen` serves: its values, against the links; its names, against the page."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from reconciler.web import metrics
from reconciler.web.metrics import Metrics
from tests.builders import World, container, network
from tests.machine import HOSTS
from tests.unit.test_output import quoted, table
from tests.wired import Daemon, settle, wired
from watchers.errors import EngineGoneError
from watchers.model import Hint

STATES = ("linked", "waiting", "down", "unreachable", "shadowed", "refused", "failed", "idle")


def values(text: str) -> dict[str, float]:
    """Return the samples of relinkd's own metrics by name and label's value."""
    return {
        " ".join([sample.name, *sample.labels.values()]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith("relinkd_")
    }


async def taken(daemon: Daemon) -> dict[str, float]:
    found = Metrics(daemon)
    await found.take()
    return values(generate_latest(found).decode())


def links(found: dict[str, float]) -> dict[str, float]:
    return {
        state: found[f"relinkd_links {state}"]
        for state in STATES
        if found[f"relinkd_links {state}"]
    }


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Links in each of the eight states."""
    world = World(network("back"), network("front"))
    world.add(container("db"), back="10.0.0.2")
    world.add(container("off", state="exited"))
    world.add(container("far"), front="10.0.0.7")
    world.add(container("web", "db off far nobody db:localhost db:mine"), back="10.0.0.9")
    world.add(container("still", "db nobody db:localhost", state="exited"))
    world.add(container("mounted", "db", mounts=["/etc/hosts"]), back="10.0.0.10")
    for name in ("web", "mounted"):
        path = tmp_path / world.id(name) / "hosts"
        path.parent.mkdir()
        path.write_bytes(HOSTS + (b"10.1.1.1\tmine\n" if name == "web" else b""))
    return world


async def test_each_state_is_counted(world: World, tmp_path: Path) -> None:
    async with wired(world, tmp_path) as wiring:
        found = await taken(Daemon(wiring=wiring))
        assert links(found) == {
            "linked": 1,
            "waiting": 1,
            "down": 1,
            "unreachable": 1,
            "shadowed": 1,
            "refused": 2,
            "failed": 1,
            "idle": 2,
        }
        assert found["relinkd_containers"] == 6
        assert found["relinkd_recipients"] == 3
        assert found["relinkd_failed_files"] == 0
        assert found["relinkd_unsettled_files"] == 0
        assert found["relinkd_deliveries_total done"] == 1
        assert found["relinkd_link_changes_total"] == 1


async def test_they_follow_source_and_recipient(world: World, tmp_path: Path) -> None:
    async with wired(world, tmp_path) as wiring:
        daemon = Daemon(wiring=wiring)
        world.hear("die", "db")
        await settle(wiring)
        found = await taken(daemon)
        assert found["relinkd_links linked"] == 0
        assert found["relinkd_links down"] == 2
        assert found["relinkd_link_changes_total"] == 2
        world.hear("die", "web")
        await settle(wiring)
        assert links(await taken(daemon)) == {"idle": 7, "refused": 2, "failed": 1}
        world.remove("web")
        wiring.loop.changed({world.id("web")}, Hint("test"))
        assert links(await taken(daemon)) == {"idle": 2, "refused": 1, "failed": 1}


async def test_a_file_that_cannot_be_written_is_one_and_its_links_are(
    world: World, tmp_path: Path
) -> None:
    path = tmp_path / world.id("web") / "hosts"
    path.unlink()
    path.mkdir()
    async with wired(world, tmp_path) as wiring:
        found = await taken(Daemon(wiring=wiring))
        assert found["relinkd_failed_files"] == 1
        assert found["relinkd_deliveries_total failed"] >= 1
        assert found["relinkd_links linked"] == 0
        assert found["relinkd_links failed"] == 3


async def test_a_file_that_was_right_and_cannot_be_written_any_more(
    world: World, tmp_path: Path
) -> None:
    async with wired(world, tmp_path) as wiring:
        path = tmp_path / world.id("web") / "hosts"
        path.unlink()
        path.mkdir()
        await settle(wiring)
        found = await taken(Daemon(wiring=wiring))
        assert found["relinkd_failed_files"] == 1
        assert found["relinkd_unsettled_files"] == 1
        assert found["relinkd_links linked"] == 0


async def test_a_file_whose_sources_the_engine_has_not_answered_for(
    tmp_path: Path,
) -> None:
    world = World(network("back"))
    world.add(container("db"), back="10.0.0.2")
    world.add(container("web", "db"), back="10.0.0.9")
    (tmp_path / world.id("web")).mkdir()
    (tmp_path / world.id("web") / "hosts").write_bytes(HOSTS)
    async with wired(world, tmp_path) as wiring:
        assert (await taken(Daemon(wiring=wiring)))["relinkd_unsettled_files"] == 0
        wiring.mirror.lose()
        await settle(wiring)
        found = await taken(Daemon(wiring=wiring))
        assert (found["relinkd_failed_files"], found["relinkd_unsettled_files"]) == (0, 1)


async def test_when_all_of_the_engine_was_seen_last(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (await taken(Daemon()))["relinkd_last_look_timestamp_seconds"] == 0
    async with wired(world, tmp_path) as wiring:
        found = Metrics(Daemon(wiring=wiring))
        monkeypatch.setattr(metrics, "FRESH", 0.0)
        before = time.time()
        for _ in range(2):  # each look, not the first alone
            wiring.loop.synced()
            await found.take()
            seen = values(generate_latest(found).decode())["relinkd_last_look_timestamp_seconds"]
            assert before <= seen <= time.time()
            before = time.time()


async def test_the_engine_and_standing_by(world: World, tmp_path: Path) -> None:
    found = await taken(Daemon(standby="somebody"))
    assert (found["relinkd_standby"], found["relinkd_engine_up"]) == (1, 0)
    assert links(found) == {}
    async with wired(world, tmp_path) as wiring:
        daemon = Daemon(wiring=wiring)
        found = await taken(daemon)
        assert (found["relinkd_standby"], found["relinkd_engine_up"]) == (0, 1)
        wiring.loop.lost(EngineGoneError("x"))
        assert (await taken(daemon))["relinkd_engine_up"] == 0


async def test_the_table_says_what_is_served() -> None:
    rows = table("Metrics")
    documented = {
        " ".join([quoted(row[0])[0], *value])
        for row in rows
        for value in ([each] for each in quoted(row[3])[1:])
    } | {quoted(row[0])[0] for row in rows if not quoted(row[3])}
    found = Metrics(Daemon())
    await found.take()
    assert documented == values(generate_latest(found).decode()).keys()
    families = {family.name: family for family in found.collect()}
    for row in rows:
        family = families[quoted(row[0])[0].removesuffix("_total")]
        assert family.type == row[1]
        assert {name for sample in family.samples for name in sample.labels} == {
            *quoted(row[3])[:1]
        }


async def test_no_text_of_a_container_is_served(world: World, tmp_path: Path) -> None:
    async with wired(world, tmp_path) as wiring:
        found = Metrics(Daemon(wiring=wiring))
        await found.take()
        text = generate_latest(found).decode()
    labels = {
        text for pair in re.findall(r"^relinkd_\w+\{(.*?)\}", text, re.MULTILINE) for text in [pair]
    }
    known = {f'state="{state}"' for state in STATES}
    assert {each for each in labels if each.startswith("state")} == known
    assert {each for each in labels if not each.startswith("state")} == {
        f'outcome="{each}"' for each in ("done", "busy", "not_ready", "gone", "failed")
    }


async def test_links_are_counted_once_a_second(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with wired(world, tmp_path) as wiring:
        found = Metrics(Daemon(wiring=wiring))
        await found.take()
        before = found.collect()
        await found.take()
        assert found.collect() is before
        monkeypatch.setattr(metrics, "FRESH", 0.0)
        await found.take()
        assert found.collect() is not before
