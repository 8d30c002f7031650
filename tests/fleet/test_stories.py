"""Every story on three hosts, over an etcd and routed networks, and over a Swarm's overlay."""

from __future__ import annotations

from pathlib import Path

import pytest
from _pytest.mark import ParameterSet

from tests.conftest import NEWEST, on_each
from tests.fleet.conftest import Fleets
from tests.fleet.stories import BY_RECORD, STORIES, play, tell
from tests.lab.hosts import NO_VXLAN, has_vxlan

IN_SHORT = ("source-restarts",)
"""What `make test` plays."""
ON_OLDER = ("source-restarts", "source-host-is-cut-off", "recipients-host-is-cut-off")
"""What older engines may change; the rest is about relinkd, the store and hosts alone."""


def told() -> list[ParameterSet]:
    """Return engine, how the hosts hear of each other, and story."""
    found = []
    for engine in on_each("fleet"):
        for how in ("etcd", "swarm"):
            for name in (*STORIES, *(BY_RECORD if how == "etcd" else ())):
                if engine.id == NEWEST or name in ON_OLDER:
                    # Two workers, with hosts of their own: the stories take longest of all.
                    marks = [*engine.marks, pytest.mark.xdist_group(how)]
                    marks += [] if name in IN_SHORT else [pytest.mark.long]
                    id_ = f"{engine.id}-{how}-{name}"
                    found.append(pytest.param(engine.values[0], how, name, id=id_, marks=marks))
    return found


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("key", "how", "name"), told())
def test_links_follow(key: str, how: str, name: str, fleets: Fleets, tmp_path: Path) -> None:
    if how == "swarm" and not has_vxlan():
        pytest.skip(NO_VXLAN)
    tell(fleets[key], how, name, tmp_path)


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("key", [each for each in on_each("fleet") if each.id == NEWEST])
def test_two_fleets_in_one_store_know_nothing_of_each_other(
    key: str, fleets: Fleets, tmp_path: Path
) -> None:
    lab = fleets[key]
    try:
        with play(lab, "etcd", tmp_path, {lab[0].name: "--fleet-prefix=/other"}) as playing:
            a, b, c = playing.posts
            playing.recipients("//db")
            with playing.recorded(a):
                strange = playing.source(a)
                playing.await_all(playing.at(a, strange), on=[a])
                db = playing.source(c)
                playing.await_all(playing.at(c, db), on=[b, c])
                c.client.stop(db)
                playing.await_all(on=[b, c])
                a.client.restart(strange)
                playing.await_all(playing.at(a, strange), on=[a])
                assert playing.shown(b) == playing.shown(c) == []
                c.client.start(db)
                playing.await_all(playing.at(c, db), on=[b, c])
    finally:
        lab.mend()
