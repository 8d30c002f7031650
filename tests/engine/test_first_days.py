"""docs/quick-start.md, docs/upgrading.md and docs/uninstalling.md, run as they stand there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.conftest import NEWEST, LabEngines
from tests.engine import checkout
from tests.engine.conftest import BUILDERS
from tests.engine.test_guide import ROOT, Guide, sections, stand_ins


class Days(Guide):
    """Pages played one after the other, in the shell of one reader."""

    def play_page(self, name: str) -> None:
        self.page = name
        blocks = [
            block for each in sections((ROOT / "docs" / name).read_text()) for block in each.blocks
        ]
        assert blocks
        for block in blocks:
            self.run(block)

    def running(self) -> set[str]:
        """Return the names of the containers that are there."""
        return {
            name.removeprefix("/") for each in self.engine.client.list() for name in each["Names"]
        }


# test_guide.py plays the like on every engine.
@pytest.fixture(params=[each for each in BUILDERS if each.id == NEWEST])
def days(request: pytest.FixtureRequest, builders: LabEngines, tmp_path: Path) -> Iterator[Days]:
    engine = builders[request.param]
    checkout.make(tmp_path)
    stand_ins(engine)
    with closing(Days(engine, tmp_path)) as played:
        yield played
    engine.client.sweep()


@pytest.mark.timeout(1500)
def test_from_the_first_start_to_nothing_left(days: Days) -> None:
    days.play_page("quick-start.md")
    assert days.lookup("web", "database") == [days.address("db", "bridge")]
    days.play_page("upgrading.md")
    assert days.lookup("web", "database") == [days.address("db", "bridge")]
    assert "relinkd-next-relinkd-1" in days.running()
    assert "relinkd-relinkd-1" not in days.running()
    assert days.shell.run("docker compose -p relinkd-next -f deploy/compose.yaml down")[0] == 0
    assert days.shell.run("docker compose -f deploy/compose.yaml up -d")[0] == 0
    days.play_page("uninstalling.md")
    assert days.running() == {"web", "db", "newcomer", "shop-web-1", "shop-db-1"}
    for each in days.engine.client.list():
        hosts = (days.engine.containers_dir / each["Id"] / "hosts").read_text()
        assert "relinkd" not in hosts
        assert "database" not in hosts
    assert days.shell.run("docker image inspect relinkd/relinkd:0.1.0")[0] != 0
