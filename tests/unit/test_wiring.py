"""Features by the wiring: what takes part, and who waits for whom."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler import wiring
from reconciler.contract import Change, Done, Reconciler, Result, TaskReconciler, Triggers
from reconciler.feature import Feature, Parts
from reconciler.hosts.files import HostsFiles
from reconciler.settings import Settings, build
from reconciler.wiring import FEATURES, Wiring
from tests.builders import World, container
from watchers.engine import Engine
from watchers.model import Hint


class Keeper(TaskReconciler):
    kind = "keeper"

    def keys(self, change: Change) -> Iterator[str]:
        yield from change.containers

    def every_key(self) -> Iterator[str]:
        yield from ()

    async def reconcile(self, key: str, triggers: Triggers, engine: Engine) -> Result:  # noqa: ARG002 - the contract's
        return Done()


class Waits(Feature):
    powers = frozenset({"restart"})
    parts: Parts

    def reconciler(self, parts: Parts) -> Reconciler:
        self.parts = parts
        return Keeper()


class Read(Waits):
    read_by_recipients = True


@pytest.mark.parametrize("other", [Read, Waits])
async def test_a_feature_can_wait_for_what_recipients_read_and_for_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: type[Feature]
) -> None:
    waits = Waits()
    monkeypatch.setattr(wiring, "FEATURES", [waits, other()])
    world = World()
    world.add(container("web"))
    web = world.id("web")
    (folder := tmp_path / web).mkdir()
    (folder / "hosts").touch()
    settings = build({"allow": "restart"})
    with HostsFiles(tmp_path) as files, Wiring(settings, world.mirror, files) as wired:
        assert not waits.parts.is_changing(web)
        wired.loop.changed({web}, Hint("test"))
        assert waits.parts.is_changing(web) == other.read_by_recipients


@pytest.mark.parametrize("feature", FEATURES)
def test_what_is_allowed_takes_part_and_nothing_else(tmp_path: Path, feature: Feature) -> None:
    for allow in ((), *((power,) for power in feature.powers)):
        settings = Settings(allow=allow, host_names_file=str(tmp_path / "hosts"))
        with (
            HostsFiles(tmp_path) as files,
            Wiring(settings, World().mirror, files) as wired,
        ):
            modules = [type(each).__module__ for each in wired.loop.reconcilers]
        own = type(feature).__module__.removesuffix("feature") + "reconciler"
        assert modules == ["reconciler.hosts.reconciler", *[own] * bool(allow)]


def test_what_is_not_allowed_is_not_imported() -> None:
    code = (
        "import sys\nimport reconciler.app\n"
        "print(*(name for name in sys.modules if name.startswith('reconciler.features.')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = done.stdout.split()
    assert {name.rpartition(".")[2] for name in loaded if name.count(".") > 2} == {"feature"}
    assert len(loaded) == 2 * len(FEATURES)
